import json
from pathlib import Path

from tests.reporting.make import make_ranking, make_result, make_run, write
from tuna.reporting.columns import find_columns
from tuna.reporting.read import Found
from tuna.reporting.shapes import runs_table
from tuna.reporting.systems import System, find_systems, summarize


def systems(folder: Path) -> tuple[dict[str, System], list[str]]:
    found = Found.read([folder / "runs"], [folder / "rankings"], [folder / "results"])
    return {system.label: system for system in find_systems(found, find_columns(found.results))}, found.problems


def test_seeds_are_replicates(tmp_path: Path) -> None:
    for seed in range(3):
        make_run(tmp_path / "runs", f"c{seed}", system="Tuna_c", seed=seed)
    make_run(tmp_path / "runs", "other", system="Tuna_c", seed=0, loss={"margin": 0.5})
    found, _ = systems(tmp_path)
    assert {label: sorted(s.runs) for label, s in found.items()} == {
        "Tuna_c (margin=0.1)": [0, 1, 2], "Tuna_c (margin=0.5)": [0],
    }  # fmt: skip


def test_parents_that_are_replicates_make_no_difference(tmp_path: Path) -> None:
    for seed in range(2):
        alpaca = make_run(tmp_path / "runs", f"alpaca-{seed}", system="Alpaca", stage="sft", seed=seed)
        lists = make_ranking(tmp_path / "rankings", f"judged-{seed}", seed=seed, model={"path": str(alpaca)})
        data = str(lists.with_name(f"judged-{seed}.jsonl"))
        make_run(tmp_path / "runs", f"c-{seed}", system="Tuna_c", seed=seed, start=str(alpaca / "model"), data=data)
    base = make_run(tmp_path / "runs", "elsewhere", system="Base", loss={"margin": 9})
    make_run(tmp_path / "runs", "c-2", system="Tuna_c", seed=2, start=str(base), data=data)
    found, _ = systems(tmp_path)
    assert sorted(found["Alpaca"].runs) == [0, 1]
    variants = [sorted(s.runs) for s in found.values() if s.base == "Tuna_c"]
    assert sorted(variants) == [[0, 1], [2]]


def test_whole_and_broken_numbers_are_the_same_setting(tmp_path: Path) -> None:
    make_run(tmp_path / "runs", "a", system="Tuna_c", loss={"lambda": 1})
    make_run(tmp_path / "runs", "b", system="Tuna_c", loss={"lambda": 1.0}, seed=1)
    assert sorted(systems(tmp_path)[0]["Tuna_c"].runs) == [0, 1]


def test_the_row_of_a_table_keeps_its_name(tmp_path: Path) -> None:
    make_run(tmp_path / "runs", "c", system="Tuna_c", tables=[1])
    for n, value in enumerate([0, 1, 5]):
        make_run(tmp_path / "runs", f"lambda/{n}", system="Tuna_c", tables=["figure2"], loss={"lambda": value})
    found, problems = systems(tmp_path)
    assert list(found) == ["Tuna_c", "Tuna_c (lambda=0)", "Tuna_c (lambda=5)"]
    assert found["Tuna_c"].tables == ("1", "figure2") and not found["Tuna_c"].swept
    assert found["Tuna_c (lambda=5)"].swept
    assert problems == [
        f"{tmp_path}/runs/c repeats {tmp_path}/runs/lambda/1 (the same config and seed): they count once, "
        "by the newer result each"
    ]


def test_the_row_of_a_table_keeps_its_name_beside_sweeps_that_are_rows_too(tmp_path: Path) -> None:
    make_run(tmp_path / "runs", "p", system="Tuna_p", tables=[1])
    for n, value in enumerate([1.0, 1.3]):
        settings = {"beta": value} if value != 1.3 else {}
        make_run(tmp_path / "runs", f"beta/{n}", system="Tuna_p", tables=[5], datamodule=settings)
    make_run(tmp_path / "runs", "data/0", system="Tuna_p", tables=["figure3"], datamodule={"first": 9})
    found, _ = systems(tmp_path)
    assert sorted(found) == ["Tuna_p", "Tuna_p (beta=1)", "Tuna_p (first=9)"] and not found["Tuna_p"].swept


def test_without_an_experiment_the_stage_names_it(tmp_path: Path) -> None:
    make_run(tmp_path / "runs", "mine", stage="tuna_p")
    found, _ = systems(tmp_path)
    assert list(found) == ["tuna_p"] and not found["tuna_p"].named


def test_a_stage_may_be_a_row_of_the_paper_but_no_sweep_of_ones_own_is(tmp_path: Path) -> None:
    rows = [("c", 1.0), ("sweep/0", 1.0), ("sweep/1", 5.0)]
    for name, weight in rows:
        path = make_run(tmp_path / "runs", name, loss={"lambda": weight}, seed=len(name)) / "run.json"
        row = {"name": "tuna_c", "system": "Tuna_c", "tables": [1, 8]}
        path.write_text(json.dumps((run := json.loads(path.read_text())) | {"config": run["config"] | {"stage": row}}))
    found, _ = systems(tmp_path)
    assert {label: (s.named, s.tables) for label, s in found.items()} == {
        "Tuna_c": (True, ("1", "8")), "Tuna_c (lambda=5)": (False, ()),
    }  # fmt: skip


def test_lists_are_told_apart_by_the_proxy_model_that_ranked_them(tmp_path: Path) -> None:
    for size in ("3B", "7B"):
        prm = make_run(tmp_path / "runs", f"prm_{size}", system=f"PRM-{size}", start=size)
        ranker = {"n": 4, "path": str(prm / "model")}
        lists = make_ranking(tmp_path / "rankings", f"by_{size}", ranker=ranker).with_name(f"by_{size}.jsonl")
        make_run(tmp_path / "runs", f"c_{size}", system="Tuna_c (PRM)", tables=[8], data=str(lists))
    found, _ = systems(tmp_path)
    assert {"Tuna_c (PRM) (by PRM-3B)", "Tuna_c (PRM) (by PRM-7B)"} < set(found)


def test_failed_runs_stay_with_their_system(tmp_path: Path) -> None:
    make_run(tmp_path / "runs", "a", system="Tuna", seed=0)
    make_run(tmp_path / "runs", "b", system="Tuna", seed=1, status="failed")
    found, _ = systems(tmp_path)
    assert sorted(found["Tuna"].runs) == [0] and [run.name for run in found["Tuna"].broken] == ["b"]


def test_results_go_to_the_system_of_their_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs", "a", system="Tuna", seed=3)
    make_result(tmp_path / "results", "elementary", "a", 0.5, run=run)
    make_result(tmp_path / "results", "elementary", "llama", 0.2)
    make_result(tmp_path / "results", "elementary", "lost", 0.3, run=tmp_path / "runs" / "gone")
    make_result(tmp_path / "results", "elementary", "half", 0.9, run=run, status="incomplete")
    found, problems = systems(tmp_path)
    assert {label: list(s.results.get("elementary", {})) for label, s in found.items()} == {
        "Tuna": [3], "llama": [0], "lost": [0],
    }  # fmt: skip
    assert found["Tuna"].results["elementary"][3].scores["accuracy"] == 0.5
    assert problems == [
        f"{tmp_path}/results/elementary/lost/results.json: its run {tmp_path}/runs/gone is not among the runs; "
        "shown by name"
    ]


def test_models_of_one_name_are_told_apart(tmp_path: Path) -> None:
    make_result(tmp_path / "results", "elementary", "m", 0.5)
    make_result(tmp_path / "results", "nll", "m", 0.5, fingerprint="f" * 64)
    assert sorted(systems(tmp_path)[0]) == ["m (ffffffff)", "m (m0000000)"]


def test_measured_twice_the_newer_counts(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs", "a", system="Tuna")
    make_result(tmp_path / "results", "elementary", "a", 0.5, run=run)
    make_result(tmp_path / "results", "elementary", "b", 0.7, run=run, ended="2026-02-01T00:00:00")
    found, problems = systems(tmp_path)
    assert found["Tuna"].results["elementary"][0].scores["accuracy"] == 0.7
    assert len(problems) == 1 and "measured again in" in problems[0]


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
    systems = find_systems(found, find_columns(found.results))
    counts, missing = summarize(found, systems)
    assert counts == {
        "systems": 3, "runs": 7, "runs failed": 1, "runs finished": 3, "runs interrupted": 1, "runs odd": 1,
        "runs running": 1, "results": 2, "results incomplete": 1, "rankings": 1,
    }  # fmt: skip
    told = "\n".join(missing)
    for text in (
        "run failed: failed, not finished", "run running: running, not finished", "run interrupted: interrupted,",
        "run odd: odd, not finished", "result lmentry of good: incomplete, 3 of 10 questions",
        "run unmeasured (Tuna_c, seed 1): finished, no benchmark measured it", "torn/run.json: cannot be read",
        "ranking r: 7 instructions still to ask",
        "sweep/3 (loss.lambda=-1): failed: loss.lambda: expected 0 or more",
    ):  # fmt: skip
        assert text in told
    assert len(missing) == 9 and found.problems == ["ranking r: 2 instructions without a usable list"]
    assert len(runs_table(found, systems).rows) == 7


def test_no_results_at_all_is_no_list_of_every_run(tmp_path: Path) -> None:
    make_run(tmp_path, "a")
    found = Found.read([tmp_path], [], [])
    assert summarize(found, find_systems(found, {}))[1] == []
