"""tuna.training.results: answers before and after."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tuna.runs import RunFolder
from tuna.training import results
from tuna.training.results import samples_table, write_samples


def read(target: RunFolder) -> list[dict[str, str]]:
    return [json.loads(line) for line in (target.path / "samples.jsonl").read_text("utf-8").split("\n") if line]


def wanting(count: int) -> Any:
    return SimpleNamespace(loggers=SimpleNamespace(samples=count), module=SimpleNamespace(answers=True))


def test_an_answer_may_hold_any_line_end(tmp_path: Path) -> None:
    target = RunFolder(tmp_path, "x")
    write_samples(target, [{"id": "0", "instruction": "a\u2028b"}], ["c\x85d"], ["e\u2029f"])
    assert [(row["instruction"], row["before"], row["after"]) for row in read(target)] == [
        ("a\u2028b", "c\x85d", "e\u2029f")
    ]


def test_rows_are_written_and_shown_evenly(tmp_path: Path) -> None:
    target = RunFolder(tmp_path, "x")
    assert samples_table(wanting(0), target) == []
    records = [{"id": f"{n}", "instruction": f"é {n}", "input": None} for n in range(10)]
    write_samples(target, records, [f"was {n}" for n in range(10)], ["now" * 1000] * 10)
    rows = read(target)
    assert len(rows) == 10 and rows[3] | {"after": ""} == {
        "id": "3", "task": "", "instruction": "é 3", "input": "", "before": "was 3", "after": ""
    }  # fmt: skip
    shown = samples_table(wanting(4), target)
    assert [row["id"] for row in shown] == ["0", "2", "5", "7"]
    assert len(shown[0]["after"]) == 2000
    assert samples_table(wanting(0), target) == [] and len(samples_table(wanting(99), target)) == 10


class Answered(tuple[Any, ...]):
    answers = ()


def test_tasks_are_measured_on_the_weights_that_were_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[tuple[str, str, bool]] = []

    def loader(kind: str) -> Any:
        def load(folder: Path, *, trust_remote_code: bool, **rest: Any) -> Any:
            loaded.append((kind, str(folder), trust_remote_code))
            return SimpleNamespace(eval=lambda: folder, chat_template=None)

        return SimpleNamespace(from_pretrained=load)

    monkeypatch.setattr(results, "AutoModelForCausalLM", loader("model"))
    monkeypatch.setattr(results, "AutoTokenizer", loader("tokenizer"))
    answered = lambda model, tokenizer, records, template, progress: Answered((model, template))  # noqa: E731
    monkeypatch.setattr(results, "measure_elementary", answered)
    monkeypatch.setattr(results, "write_samples", lambda target, records, before, after: None)
    monkeypatch.setattr(results, "grow", lambda model, rows: None)
    target = RunFolder(tmp_path / "w", "w")
    start = tmp_path / "snapshot"
    resolved = SimpleNamespace(source="owner/name", weights_folder=start)
    built: Any = SimpleNamespace(
        resolved=resolved, model=SimpleNamespace(trust_remote_code=True, rows=64), template="none"
    )
    found: Any = results.measure_tasks(built, target)
    assert found == ((start, "none"), (target.model, "none"))
    assert loaded == [
        (kind, str(folder), True) for folder in (start, target.model) for kind in ("model", "tokenizer")
    ]  # fmt: skip
