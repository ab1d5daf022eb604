import doctest
import json
from pathlib import Path

import pytest

from tests.reporting.make import example, make_ranking, make_result, make_run, report
from tuna.config.compose import compose
from tuna.errors import ConfigError, DataError, RunError
from tuna.reporting.run import Settings


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def fill(folder: Path) -> None:
    for n, weight in enumerate([0, 1, 5]):
        run = make_run(folder / "runs", f"l/{n}", system="Tuna_c", tables=["figure2"], loss={"lambda": weight})
        make_result(folder / "results", "elementary", f"l{n}", n / 10, run=run, examples=[example(0, "a", 1)])
    alpaca = make_run(folder / "runs", "alpaca", system="Alpaca", tables=[1], stage="sft")
    make_result(folder / "results", "elementary", "alpaca", 0.3, run=alpaca, examples=[example(0, "a", 1)])
    make_ranking(folder / "rankings", "judged")


def test_the_same_files_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert report(tmp_path)["date"] == "2023-11-14 22:13 UTC"
    first = files(tmp_path / "report")
    report(tmp_path)
    assert files(tmp_path / "report") == first
    assert {"report.html", "report.json", "tables/table-1.md", "tables/table-1.tex", "tables/table-12.md",
            "tables/table-4.tex", "tables/table-6.md", "tables/sweep-figure2.tex", "figures/lengths.png",
            "figures/figure2-verifiable-tasks.png"} <= set(first)  # fmt: skip


def test_an_older_report_leaves_nothing_behind(tmp_path: Path) -> None:
    fill(tmp_path)
    report(tmp_path)
    (tmp_path / "report" / "tables" / "mine.txt").write_text("kept")
    (tmp_path / "rankings" / "judged.report.json").unlink()
    report(tmp_path)
    left = files(tmp_path / "report")
    assert "tables/table-4.md" not in left and "figures/lengths.png" not in left and "tables/mine.txt" in left


@pytest.mark.parametrize("name", ["report.html", "report.json", "figures/mine.png", "tables/mine.md"])
def test_what_it_did_not_make_is_neither_replaced_nor_removed(tmp_path: Path, name: str) -> None:
    make_run(tmp_path / "runs", "a")
    mine = tmp_path / "report" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(ConfigError, match=r"is there and report\.py did not make it; next: .*output=FOLDER"):
        report(tmp_path)
    assert files(tmp_path / "report") == {name: b"mine"}


def test_a_figure_or_a_table_laid_beside_the_reports_own_stays(tmp_path: Path) -> None:
    fill(tmp_path)
    report(tmp_path)
    (tmp_path / "report" / "tables" / "mine.md").write_text("mine")
    report(tmp_path)
    assert (tmp_path / "report" / "tables" / "mine.md").read_text() == "mine"
    (tmp_path / "report" / "figures" / "mine.png").write_text("mine")
    assert "mine.png" not in report(tmp_path)["figures"]
    assert (tmp_path / "report" / "figures" / "mine.png").read_text() == "mine"


def test_a_report_that_was_killed_is_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path)
    monkeypatch.setattr("tuna.reporting.run.render", lambda **values: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        report(tmp_path)
    assert list((tmp_path / "report" / "figures").iterdir())
    monkeypatch.undo()
    assert report(tmp_path)["figures"] and not (tmp_path / "report" / ".begun").exists()


def test_report_json_has_every_figure(tmp_path: Path) -> None:
    fill(tmp_path)
    found = report(tmp_path, "baseline=alpaca")
    by_name = {system["system"]: system for system in found["systems"]}
    score = by_name["Tuna_c (lambda=5)"]["scores"]["elementary"]
    assert score["values"] == {"0": 0.2} and score["to_baseline"]["mean"] == pytest.approx(-0.1)
    assert found["baseline"] == "Alpaca" and found["counts"]["runs"] == 4
    assert {claim["id"]: claim["verdict"] for claim in found["claims"]}["tuna_p"] == "not measured"


def test_runs_alone_are_enough(tmp_path: Path) -> None:
    make_run(tmp_path / "runs", "c", system="Tuna_c", tables=[1], metrics={"val/task_accuracy": 0.5})
    found = report(tmp_path)
    text = (tmp_path / "report" / "tables" / "table-1.md").read_text()
    assert "task accuracy (of the run)" in text and "0.500" in text
    assert found["systems"][0]["scores"] == {}


def test_rankings_alone_are_enough(tmp_path: Path) -> None:
    make_ranking(tmp_path / "rankings", "judged")
    assert report(tmp_path)["tables"] == ["table-4", "table-6"]


def test_the_papers_numbers_stand_apart(tmp_path: Path) -> None:
    fill(tmp_path)
    cells = tmp_path / "cells.json"
    cells.write_text(json.dumps([{"table": "1", "system": "Tuna_c", "column": "LMentry", "value": 98.7654}]))
    report(tmp_path, f"paper={cells}")
    page = (tmp_path / "report" / "report.html").read_text()
    ours, _, theirs = page.partition('<section id="paper">')
    assert "98.7654" in theirs and "98.7654" not in ours
    tables = tmp_path / "report" / "tables"
    assert [p.name for p in sorted(tables.glob("*.md")) if "98.7654" in p.read_text()] == ["paper-1.md"]


def test_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("runs", "rankings", "results"):
        (tmp_path / key).mkdir()
    with pytest.raises(DataError, match="nothing to report on"):
        report(tmp_path)
    make_run(tmp_path / "runs", "a")
    (tmp_path / "in the way").write_text("")
    with pytest.raises(RunError, match=r"in the way/report.*; name another place with output=FOLDER"):
        report(tmp_path, f"output={tmp_path}/in the way/report")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "today")
    with pytest.raises(ConfigError, match="SOURCE_DATE_EPOCH: expected whole seconds since 1970, got 'today'"):
        report(tmp_path)


def test_hundreds_of_runs(tmp_path: Path) -> None:
    for n in range(300):
        run = make_run(tmp_path / "runs", f"grid/{n}", seed=n % 3, loss={"lambda": n // 3 % 10, "margin": n // 30})
        make_result(tmp_path / "results", "elementary", f"g{n}", n / 300, run=run)
    found = report(tmp_path)
    assert found["counts"]["systems"] == 100 and found["counts"]["runs"] == 300
    assert [note[-21:] for note in found["notes"][:2]] == ["4 lines are not drawn"] * 2
    assert len(found["figures"]) == 2
    assert {claim["id"]: claim["evidence"] for claim in found["claims"]}["lambda"][0]["column"].endswith("(margin=0)")


def test_the_documents_examples_run() -> None:
    assert doctest.testfile(str(Path(__file__).parents[2] / "docs" / "report.md"), module_relative=False).failed == 0


def test_defaults_stand_in_the_yaml_too() -> None:
    assert Settings.read(compose([], config_name="report")) == Settings()


def test_lists_of_folders(tmp_path: Path) -> None:
    settings = Settings.read(compose([f"runs=[{tmp_path},{tmp_path}]"], config_name="report"))
    assert settings.folders["runs"] == [tmp_path, tmp_path] and settings.folders["results"] == [Path("results")]


def test_all_that_is_wrong_is_said_at_once() -> None:
    words = ["questions=-1", "paper=none.json", "runs=5"]
    with pytest.raises(ConfigError) as raised:
        Settings.read(compose(words, config_name="report"))
    assert len(str(raised.value).splitlines()) == 3


def test_a_folder_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="results: none: no such folder"):
        Settings.read(compose(["results=none"], config_name="report"))
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="output: expected a folder"):
        Settings.read(compose([f"output={tmp_path}/file"], config_name="report"))
