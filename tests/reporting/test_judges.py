"""Judges of several results side by side: one row each, baselines once, a table per set of lists; drawn and told."""

import json
from pathlib import Path
from typing import Any

from PIL import Image

from tests.reporting.make import make_result
from tuna.config.compose import compose
from tuna.reporting.judges import judge_tables
from tuna.reporting.read import Found
from tuna.reporting.run import run
from tuna.reporting.shapes import study_tables

ZEROES = (
    "lists", "ties", "no_verdict", "spearman", "length_controlled", "agreement_longer_better",
    "agreement_shorter_better", "longer_wins", "longer_wins_reference", "flip_rate", "consistency", "cycles",
    "dollars_per_1000", "seconds_per_1000",
)  # fmt: skip


def make_card(
    folder: Path, own: float, *, name: str = "gpt", key: str = "a", data: str = "d", **more: list[dict[str, Any]]
) -> None:
    """A result whose judge agrees in ``own`` of the pairs, random in half, longest in 0.6."""
    figures = {"agreement": (own, 0.5, 0.6), "agreement_low": (own - 0.1, None, None)}
    figures |= {"agreement_high": (own + 0.1, None, None), **dict.fromkeys(ZEROES, (0.0, 0.0, 0.0))}
    rows = [{"measure": m, **dict(zip(("itself", "random", "longest"), v, strict=True))} for m, v in figures.items()]
    path = make_result(
        folder / key, "judge", name, own, primary="agreement", settings={"data": data}, fingerprint=key,
        tables={"judges": rows, **more}, config={"benchmark": {"path": f"lists/{data}.jsonl"}},
    )  # fmt: skip
    content = json.loads(path.read_text())
    content["settings"]["judge"], content["model"]["kind"] = {"prompt": key}, "none"
    path.write_text(json.dumps(content))


def test_one_row_per_judge_and_baselines_once(tmp_path: Path) -> None:
    make_card(tmp_path / "r", 0.7, key="a")
    make_card(tmp_path / "r", 0.55, key="b")
    make_card(tmp_path / "r", 0.4, name="mini", key="c", data="other")
    found = Found.read([], [], [tmp_path / "r"])
    first, second = judge_tables(found, tmp_path)
    assert [row[0].text for row in first.rows] == ["gpt (prompt=a)", "longest", "gpt (prompt=b)", "random"]
    assert first.title == "Judges on d.jsonl" and first.rows[0][2].notes == ("[0.600, 0.800]",)
    assert [row[0].text for row in second.rows] == ["longest", "random", "mini"]
    assert study_tables(found) == []
    (picture, _), *_ = first.figures
    image = Image.open(picture).convert("L")
    assert image.width > 900 and min(image.tobytes()) < 60


def test_the_report_holds_the_card(tmp_path: Path) -> None:
    bench: list[dict[str, Any]] = [
        {"measure": name, "itself": value, "random": 0.25} for name, value in (("Math", 0.5), ("mean", 0.5))
    ]
    make_card(tmp_path / "r", 0.7, reward_bench=bench)
    none = [f"runs={tmp_path}", f"rankings={tmp_path}"]
    run(compose([f"results={tmp_path / 'r'}", *none, f"output={tmp_path / 'report'}"], config_name="report"))
    told = json.loads((tmp_path / "report/report.json").read_text())
    assert [row["judge"] for row in told["judges"]["judges-1"]] == ["gpt", "longest", "random"]
    assert told["judges"]["reward-bench-1"][0] == {"judge": "gpt", "Math": 0.5, "mean": 0.5}
    page = (tmp_path / "report/report.html").read_text()
    assert 'id="judges"' in page and "Judges on d.jsonl" in page and "RewardBench 2: d.jsonl" in page
    assert (tmp_path / "report/tables/judges-1.md").is_file() and told["figures"] == ["judges-1.png"]
