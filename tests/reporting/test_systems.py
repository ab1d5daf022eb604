from pathlib import Path

from tests.reporting.make import make_ranking, make_result, make_run
from tuna.reporting.columns import Columns
from tuna.reporting.read import Found
from tuna.reporting.systems import System, find_systems


def systems(folder: Path) -> tuple[dict[str, System], list[str]]:
    found = Found.read([folder / "runs"], [folder / "rankings"], [folder / "results"])
    return {system.label: system for system in find_systems(found, Columns(found.results))}, found.problems


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
