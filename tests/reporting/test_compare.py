import math
from pathlib import Path

import pytest

from tests.reporting.make import example, make_result, make_run
from tuna.reporting.columns import PAIR_ACCURACY, TASK_ACCURACY, Column, find_columns
from tuna.reporting.compare import Comparison
from tuna.reporting.read import Found
from tuna.reporting.systems import System, find_systems
from tuna.stats import crossed, t_quantile


def compare(folder: Path, baseline: str = "Alpaca") -> tuple[Comparison, dict[str, System]]:
    found = Found.read([folder / "runs"], [], [folder / "results"])
    columns = find_columns(found.results)
    comparison = Comparison(find_systems(found, columns), columns.values(), baseline)
    return comparison, {system.label: system for system in comparison.systems}


def measure(folder: Path, label: str, seed: int, score: float, benchmark: str = "elementary", **more: object) -> None:
    name = f"{label.lower()}-{seed}"
    run = make_run(folder / "runs", name, system=label, seed=seed, stage="sft" if label == "Alpaca" else "tuna_c")
    make_result(folder / "results", benchmark, name, score, run=run, **more)  # type: ignore[arg-type]


def test_means_intervals_and_paired_differences(tmp_path: Path) -> None:
    for seed, (base, tuned) in enumerate([(0.5, 0.6), (0.6, 0.8), (0.7, 1.0)]):
        measure(tmp_path, "Alpaca", seed, base)
        measure(tmp_path, "Tuna_c", seed, tuned)
    comparison, systems = compare(tmp_path)
    (column,) = comparison.of_results
    mean = comparison.estimate(systems["Tuna_c"], column)
    change = comparison.versus(systems["Tuna_c"], comparison.baseline, column)
    assert mean is not None and mean.mean == pytest.approx(0.8) and mean.n == 3
    # Differences 0.1, 0.2, 0.3: half = 4.3027 * 0.1 / sqrt(3) = 0.24842
    assert change is not None and change.mean == pytest.approx(0.2)
    assert [change.low, change.high] == pytest.approx([-0.04842, 0.44842], abs=1e-5)
    assert comparison.versus(systems["Alpaca"], comparison.baseline, column) is None


def test_one_seed_takes_the_benchmarks_interval(tmp_path: Path) -> None:
    measure(tmp_path, "Tuna_c", 0, 0.6, interval=(0.5, 0.7))
    comparison, systems = compare(tmp_path)
    found = comparison.estimate(systems["Tuna_c"], comparison.of_results[0])
    assert found is not None and (found.low, found.high, found.n) == (0.5, 0.7, 1)
    assert found.how == "over questions, one seed"


@pytest.mark.parametrize("factor", [1.0, 100.0])
def test_one_seed_each_is_paired_by_question(tmp_path: Path, factor: float) -> None:
    # Marks 1100 and 1000: mean 0.5 and 0.25; differences 0, 1, 0, 0: mean 0.25, s = 0.5, half = 3.18245 * 0.25
    for label, marks in (("Alpaca", [1, 0, 0, 0]), ("Tuna_c", [1, 1, 0, 0])):
        rows = [example(n, "text", mark) for n, mark in enumerate(marks)]
        measure(tmp_path, label, 0, factor * sum(marks) / 4, examples=rows)
    comparison, systems = compare(tmp_path)
    change = comparison.versus(systems["Tuna_c"], comparison.baseline, comparison.of_results[0])
    assert change is not None and change.how == "over questions, one seed"
    assert change.mean == pytest.approx(0.25 * factor)
    assert change.low == pytest.approx(factor * (0.25 - 3.18245 * 0.25), rel=1e-3)


def test_several_seeds_are_paired_by_seed_and_question(tmp_path: Path) -> None:
    gains = [[0, 1, 0, 0], [0, 1, 0, 1], [0, 1, 1, 0]]
    for seed, gain in enumerate(gains):
        for label, marks in (("Alpaca", [0, 0, 0, 0]), ("Tuna_c", gain)):
            rows = [example(n, "text", mark) for n, mark in enumerate(marks)]
            measure(tmp_path, label, seed, sum(marks) / 4, examples=rows)
    comparison, systems = compare(tmp_path)
    change = comparison.versus(systems["Tuna_c"], comparison.baseline, comparison.of_results[0])
    assert change == crossed(gains) and change.how == "over seeds and questions" and change.n == 3


def test_one_model_stands_beside_every_seed_of_what_began_with_it(tmp_path: Path) -> None:
    gains = [[0, 1, 0, 0], [0, 1, 0, 1], [0, 1, 1, 0]]
    marked = [("Alpaca", 0, [0, 0, 0, 0]), *(("Tuna_c", seed, gain) for seed, gain in enumerate(gains))]
    for label, seed, marks in marked:
        rows = [example(n, "text", mark) for n, mark in enumerate(marks)]
        measure(tmp_path, label, seed, sum(marks) / 4, examples=rows)
    comparison, systems = compare(tmp_path)
    change = comparison.versus(systems["Tuna_c"], comparison.baseline, comparison.of_results[0])
    assert change is not None and (change.low, change.n) == (crossed(gains).low, 3)
    assert change.how == "over seeds and questions; of Alpaca one model"


def test_gains_are_compared_by_question_and_by_seed(tmp_path: Path) -> None:
    # 2 * part - none - all, by question: 2 - 0 - 1, 2 - 0 - 1, 0 - 0 - 1, 0: mean 0.25, s = sqrt(2.75 / 3)
    for label, marks in (("Alpaca", [0, 0, 0, 0]), ("Tuna_p", [1, 1, 0, 0]), ("Tuna_c", [1, 1, 1, 0])):
        measure(tmp_path, label, 0, sum(marks) / 4, examples=[example(n, "text", mark) for n, mark in enumerate(marks)])
    comparison, systems = compare(tmp_path)
    column = comparison.of_results[0]
    terms = [(2.0, systems["Tuna_p"]), (-1.0, systems["Alpaca"]), (-1.0, systems["Tuna_c"])]
    found = comparison.combined(terms, column)
    assert found is not None and found.mean == pytest.approx(0.25) and found.how == "over questions, one seed"
    assert found.high == pytest.approx(0.25 + t_quantile(3) * math.sqrt(2.75 / 3) / 2)
    for label, score in (("Alpaca", 0.0), ("Tuna_p", 0.5), ("Tuna_c", 0.55)):
        measure(tmp_path, label, 1, score)  # 0.25 and 0.45 over two seeds: half = 12.7062 * 0.1
    comparison, systems = compare(tmp_path)
    terms = [(weight, systems[system.label]) for weight, system in terms]
    found = comparison.combined(terms, column)
    assert found is not None and found.mean == pytest.approx(0.35) and found.low == pytest.approx(0.35 - 1.27062)


def test_a_score_that_is_no_mean_of_examples_has_no_interval(tmp_path: Path) -> None:
    for label, score in (("Alpaca", 0.9), ("Tuna_c", 0.1)):
        measure(tmp_path, label, 0, score, examples=[example(n, "text", 0.5) for n in range(4)])
    comparison, systems = compare(tmp_path)
    change = comparison.versus(systems["Tuna_c"], comparison.baseline, comparison.of_results[0])
    assert change is not None and change.low is None and change.mean == pytest.approx(-0.8)


def test_win_rates_are_compared_with_one_half_where_the_opponent_was_the_baseline(tmp_path: Path) -> None:
    measure(tmp_path, "Alpaca", 0, 0.5, fingerprint="a" * 64)
    run = make_run(tmp_path / "runs", "p", system="Tuna_p", stage="tuna_p")
    make_result(
        tmp_path / "results", "vicuna_qa", "p", 0.7, run=run, interval=(0.6, 0.8), settings={"baseline": "a" * 64}
    )
    run = make_run(tmp_path / "runs", "c", system="Tuna_c")
    make_result(tmp_path / "results", "vicuna_qa", "c", 0.7, run=run, settings={"baseline": "b" * 64})
    comparison, systems = compare(tmp_path)
    column = next(c for c in comparison.of_results if c.benchmark == "vicuna_qa")
    change = comparison.versus(systems["Tuna_p"], comparison.baseline, column)
    assert change is not None and change.mean == pytest.approx(0.2) and change.low == pytest.approx(0.1)
    assert comparison.versus(systems["Tuna_c"], comparison.baseline, column) is None
    # Judged against itself, the baseline ties throughout; that has no interval to pair with.
    measure(tmp_path, "Alpaca", 0, 0.5, "vicuna_qa", settings={"baseline": "a" * 64})
    comparison, systems = compare(tmp_path)
    change = comparison.versus(systems["Tuna_p"], comparison.baseline, column)
    assert change is not None and change.mean == pytest.approx(0.2) and change.low == pytest.approx(0.1)


def test_the_baseline_is_found_or_said_to_be_missing(tmp_path: Path) -> None:
    make_run(tmp_path / "runs", "mine", stage="sft")
    make_run(tmp_path / "runs", "tuned", stage="tuna_c")
    comparison, systems = compare(tmp_path)
    assert comparison.baseline is systems["sft"]
    assert comparison.notes == ["differences are to sft, the only system of stage sft"]
    assert compare(tmp_path, "TUNA_C")[0].baseline is not None
    (tmp_path / "runs" / "mine" / "run.json").unlink()
    comparison, _ = compare(tmp_path)
    assert comparison.baseline is None
    assert comparison.notes == ["there is no system 'Alpaca' to take differences to (baseline=...); there are: tuna_c"]


def test_figures_of_the_runs_themselves(tmp_path: Path) -> None:
    path = make_run(tmp_path / "runs", "a", system="Tuna_c", metrics={"val/pair_accuracy": 0.8, "val/loss_ce": 1.5})
    text = (path / "run.json").read_text()
    (path / "run.json").write_text(text[:-1] + ', "after": {"pair_accuracy_interval": [0.7, 0.9]}}')
    comparison, systems = compare(tmp_path)
    found = comparison.estimate(systems["Tuna_c"], PAIR_ACCURACY)
    assert found is not None and (found.mean, found.low, found.high) == (0.8, 0.7, 0.9)
    assert comparison.estimate(systems["Tuna_c"], TASK_ACCURACY) is None


def test_the_two_best_of_three(tmp_path: Path) -> None:
    for label, score in (("Alpaca", 1.0), ("Tuna_p", 2.0), ("Tuna_c", 3.0)):
        measure(tmp_path, label, 0, score)
        measure(tmp_path, label, 0, score, "nll", lower_is_better=["accuracy"])
    comparison, systems = compare(tmp_path)
    best = comparison.best(comparison.of_results, list(systems.values()))
    assert best == {"elementary": {"Tuna_p", "Tuna_c"}, "nll": {"Alpaca", "Tuna_p"}}
    assert comparison.best([Column("x", "x", "x", False, "x")], list(systems.values())) == {"x": set()}
