from pathlib import Path

from tests.reporting.make import make_ranking, make_result, make_run, write
from tuna.reporting.columns import Columns
from tuna.reporting.read import Found
from tuna.reporting.state import look, runs_table
from tuna.reporting.systems import find_systems


def test_nothing_that_is_missing_goes_unsaid(tmp_path: Path) -> None:
    runs, results = tmp_path / "runs", tmp_path / "results"
    good = make_run(runs, "good", system="Tuna_c", tables=[1], seed=0)
    make_run(runs, "unmeasured", system="Tuna_c", tables=[1], seed=1)
    make_run(runs, "prm", system="PRM-3B", stage="prm")
    for seed, status in enumerate(["failed", "running", "interrupted", "odd"]):
        make_run(runs, status, system="Tuna_p", seed=seed, status=status)
    make_result(results, "elementary", "good", 0.5, run=good)
    make_result(results, "lmentry", "good", 0.5, run=good, status="incomplete", covered=(3, 10))
    (tmp_path / "runs" / "torn").mkdir()
    (tmp_path / "runs" / "torn" / "run.json").write_text("{")
    job = {"job": 3, "status": "failed", "swept": ["loss.lambda=-1"], "error": "loss.lambda: expected\n0 or more"}
    write(runs / "sweep" / "3" / "job.json", job)
    write(good / "job.json", job)  # it has a run
    path = make_ranking(tmp_path, "r")
    path.write_text(path.read_text().replace('"missing": 0', '"missing": 7').replace('"unusable": 0', '"unusable": 2'))
    found = Found.read([runs], [tmp_path], [results])
    systems = find_systems(found, Columns(found.results))
    state = look(found, systems)
    assert state.counts == {
        "systems": 3, "runs": 7, "runs failed": 1, "runs finished": 3, "runs interrupted": 1, "runs odd": 1,
        "runs running": 1, "results": 2, "results incomplete": 1, "rankings": 1,
    }  # fmt: skip
    told = "\n".join(state.missing)
    for text in (
        "run failed: failed: see its log.txt", "run running: still running, or killed", "run interrupted: interrupted",
        "run odd: status 'odd'", "result lmentry of good: incomplete, 3 of 10 questions",
        "run unmeasured (Tuna_c, seed 1): finished, no benchmark measured it", "torn/run.json: cannot be read",
        "ranking r: 7 instructions still to ask",
        "sweep/3 (loss.lambda=-1): failed: loss.lambda: expected 0 or more",
    ):  # fmt: skip
        assert text in told
    assert len(state.missing) == 9 and state.notes == ["ranking r: 2 instructions without a usable list"]
    table = runs_table(found, systems)
    assert table is not None and len(table.rows) == 7


def test_no_results_at_all_is_no_list_of_every_run(tmp_path: Path) -> None:
    make_run(tmp_path, "a")
    found = Found.read([tmp_path], [], [])
    assert look(found, find_systems(found, Columns([]))).missing == []
