"""A folder of one's own runs: by their names, their own figures first, and no claim whose systems are not there."""

import json
import re
from pathlib import Path

import pytest

from tests.reporting.make import make_result, make_run, write
from tuna.config.compose import compose
from tuna.reporting.columns import find_columns
from tuna.reporting.own import own_runs
from tuna.reporting.read import Found
from tuna.reporting.run import run as report
from tuna.reporting.systems import find_systems

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three runs of stage tuna_c that differ in much, one of them measured in part."""
    runs = tmp_path / "runs"
    for n, (name, lr) in enumerate([("first", 1e-5), ("second", 1e-4), ("third", 1e-3)]):
        changed = {"beta": lr, "gamma": lr * 2, "alpha": lr * 3, "margin": lr * 4}
        metrics = {"before/pair_accuracy": 0.5, "val/pair_accuracy": 0.5 + n / 10, "before/loss": 2.0, "val/loss": 1.0}
        path = make_run(runs, name, system="Tuna_c", tables=[1, 3, 8], loss=changed, metrics=metrics, seed=n)
        (path / "curves.png").write_bytes(PNG)
    samples = [
        {"instruction": f"Ask {n}", "input": "", "before": f"old {n}", "after": f"<b>new {n}</b>"} for n in range(9)
    ]
    (runs / "third" / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in samples))
    path = make_result(tmp_path / "results", "elementary", "third", 0.5, run=runs / "third")
    content = json.loads(path.read_text())
    write(path, content | {"settings": content["settings"] | {"limit": 40}})
    return tmp_path


def test_systems_that_differ_in_much_go_by_their_runs_names(folder: Path) -> None:
    found = Found.read([folder / "runs"], [], [folder / "results"])
    systems = {system.label: system.about for system in find_systems(found, find_columns(found.results))}
    assert list(systems) == ["first", "second", "third"]
    assert systems["third"] == "Tuna_c, alpha=0.003, beta=0.001, gamma=0.002 and 1 more"


def test_the_newest_runs_have_curves_and_answers(folder: Path) -> None:
    found = Found.read([folder / "runs"], [], [])
    (folder / "figures").mkdir()
    group = own_runs(found.runs, folder / "figures", found.problems)
    assert group is not None
    own, samples = group.tables
    assert [row[0].text for row in own.rows] == ["third", "second", "first"]  # the newest first
    assert [cell.text for cell in own.rows[0][2:]] == ["0.500", "0.700", "2.000", "1.000", "-", "-"]
    assert [path.name for path, _ in own.figures] == ["run-third.png", "run-second.png", "run-first.png"]
    assert all(path.read_bytes() == PNG for path, _ in own.figures)
    assert [[cell.text for cell in row] for row in samples.rows] == [
        ["third", f"Ask {n}", f"old {n}", f"<b>new {n}</b>"] for n in (0, 3, 6)
    ]
    (folder / "runs" / "third" / "samples.jsonl").write_text("{")
    assert len(own_runs(found.runs, folder / "figures", found.problems).tables) == 1  # type: ignore[union-attr]
    assert "samples.jsonl:1: expected a JSON object" in found.problems[-1]


def test_the_page_begins_with_them_where_no_claim_is_measured(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    report(compose(config_name="report"))
    page = (folder / "report" / "report.html").read_text()
    sections = re.findall(r'<section id="(\w+)"', page)
    assert sections[:3] == ["missing", "own", "systems"] and "claims" not in sections
    assert "&lt;b&gt;new 0" in page and "<b>new 0" not in page
    table = (folder / "report" / "tables" / "table-1.md").read_text()
    assert "a quick look at 40 questions" in table and "Without a figure here, so left out: first, second" in table
    assert not (folder / "report" / "tables" / "table-3.md").exists()
    out = capsys.readouterr().out  # of one's own runs alone, nothing is said of the paper's claims and systems
    assert "not measured" not in out and "Alpaca" not in out and "paper" not in sections
    report(compose(["baseline=mine"], config_name="report"))
    assert "there is no system 'mine' to take differences to" in capsys.readouterr().out
