"""perf.gpu at tiny shapes on the CPU, so that it runs where there is a GPU; the page that it writes."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from perf.faults.base import ROOT
from perf.gpu import __main__ as program
from perf.gpu.base import TARGETS, Setting, graphs, lists_of
from perf.gpu.report import page


def test_parts_at_tiny_shapes(tmp_path: Path) -> None:
    parts = ["card", "exact", "kinds", "steps", "recompiles", "lora 7B"]
    asked = ["--device", "cpu", "--tiny", "--inside", "--out", str(tmp_path / "gpu"), "--parts"]
    assert program.main([*asked, *parts]) == 0
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert [found["parts"][name]["status"] for name in parts] == ["done"] * len(parts)
    rows = [row for part in found["parts"].values() for row in part["rows"]]
    assert {row["reached"] for row in rows if row.get("target") == "exact"} == {True}
    layouts = {(row["what"], row["layout"], row["dtype"]) for row in found["parts"]["exact"]["rows"]}
    assert len(layouts) == 8 * 2 * 2
    assert {row["way"] for row in found["parts"]["steps"]["rows"]} >= {"packed", "packed, unshared", "padded"}
    assert found["parts"]["recompiles"]["rows"][0]["steps"] == 4 and found["parts"]["lora 7B"]["rows"][0]["finite"]
    text = (tmp_path / "gpu.md").read_text()
    assert "tiny shapes: no figure here means anything" in text
    assert f"| {TARGETS['exact']} | reached |" in text
    assert f"| {TARGETS['padded']} | not measured |" in text  # a CPU's ratios say nothing of a GPU's
    assert "next: `python -m perf.gpu --parts training`" in text


def test_what_fails_is_told_and_the_next_part_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(setting: Setting) -> Any:
        yield {"what": "one", "target": "padded", "reached": True}
        yield {"what": "two", "target": "padded", "reached": False}
        raise RuntimeError("no kernel")

    monkeypatch.setitem(program.PARTS, "exact", (broken, 1.0))
    asked = ["--device", "cpu", "--tiny", "--inside", "--out", str(tmp_path / "gpu"), "--parts", "exact", "card"]
    assert program.main(asked) == 1
    parts = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert [row["what"] for row in parts["exact"]["rows"]] == ["one", "two", "exact"]
    assert parts["exact"]["rows"][-1]["error"] == "RuntimeError: no kernel"
    assert (parts["exact"]["status"], parts["card"]["status"]) == ("failed", "done")
    assert f"| {TARGETS['padded']} | missed by 1 |" in (tmp_path / "gpu.md").read_text()
    assert "1 targets missed" in capsys.readouterr().out
    # figures of one device are not mixed with another's
    (tmp_path / "gpu.json").write_text(json.dumps({"device": "cuda", "tiny": False, "parts": {"kinds": {}}}))
    assert program.main([*asked[:-2], "card"]) == 0
    assert list(json.loads((tmp_path / "gpu.json").read_text())["parts"]) == ["card"]


def test_a_part_that_hangs_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = program.options(["--device", "cpu", "--tiny", "--out", str(tmp_path / "gpu"), "--parts", "card"])
    monkeypatch.setattr(program, "GRACE", 0.01)
    assert program.run_part("card", asked, 1.0)["status"] == "stopped, its time was over"


def test_parts_fit_into_nine_minutes() -> None:
    assert sum(seconds for _, seconds in program.PARTS.values()) * program.GRACE <= 9 * 60 * 1.25
    assert program.ALL <= 9 * 60


def test_without_a_gpu_the_command_says_what_to_do(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    assert program.main(["--out", str(tmp_path / "gpu")]) == 2
    assert "next: python -m perf.gpu --device cpu --tiny" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_what_does_not_fit_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    from perf.gpu import speed

    def too_much() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(speed, "ways", lambda *args: {"padded": too_much, "packed": lambda: None})
    model = torch.nn.Linear(2, 2)
    model.get_output_embeddings = lambda: model  # type: ignore[assignment]
    groups = lists_of(1, 2, 3, 4, 9)
    rows = list(speed.measured(Setting("cpu", True), model, groups, 64, {"K": 2}))
    assert [row.get("status") for row in rows] == ["out of memory", None] and rows[1]["seconds"] >= 0


def test_the_page_in_docs_is_what_was_measured() -> None:
    path = ROOT / "docs" / "gpu.json"
    found = json.loads(path.read_text()) if path.exists() else None
    assert (ROOT / "docs" / "gpu.md").read_text() == page(found)


def test_compilations_are_counted() -> None:
    before = graphs()
    torch.compile(lambda x: x + 1, backend="eager")(torch.zeros(3))
    assert graphs() == before + 1
