from pathlib import Path

from tests.reporting.make import make_result, make_run
from tests.reporting.test_compare import compare
from tuna.reporting.figures import draw_sweep
from tuna.reporting.sweeps import Sweep, find_sweeps


def sweeps(folder: Path) -> list[Sweep]:
    return find_sweeps(compare(folder)[0])


def xs(sweep: Sweep) -> dict[str, list[float]]:
    return {line: [x for x, _ in points] for line, points in sweep.lines.items()}


def lambdas(folder: Path, tables: list[str], values: list[float] | None = None) -> None:
    for n, value in enumerate(values or [0, 0.1, 1, 5, 10]):
        run = make_run(folder / "runs", f"lambda/{n}", system="Tuna_c", tables=tables, loss={"lambda": value})
        make_result(folder / "results", "elementary", f"l{n}", n / 10, run=run)


def test_a_tagged_sweep_and_the_main_system_are_one_family(tmp_path: Path) -> None:
    lambdas(tmp_path, ["figure2"], [0, 0.1, 5])
    make_run(tmp_path / "runs", "c", system="Tuna_c", tables=["1"], loss={"lambda": 1})
    (found,) = sweeps(tmp_path)
    assert (found.name, found.key, xs(found)) == ("figure2", "loss.lambda", {"": [0, 0.1, 1, 5]})
    assert [column.key for column in found.columns] == ["elementary"]


def test_a_sweep_without_an_experiment_is_found_too(tmp_path: Path) -> None:
    for n, margin in enumerate([0.05, 0.1, 0.2]):
        make_run(tmp_path / "runs", f"margin/{n}", loss={"margin": margin}, metrics={"val/pair_accuracy": 0.7 + margin})
    (found,) = sweeps(tmp_path)
    assert (found.name, found.title) == ("tuna-c-loss-margin", "tuna_c: score and loss.margin")
    assert xs(found) == {"": [0.05, 0.1, 0.2]}
    assert [column.key for column in found.columns] == ["run:val/pair_accuracy"]


def test_the_amount_of_data_begins_at_the_baseline(tmp_path: Path) -> None:
    make_run(tmp_path / "runs", "sft", system="Alpaca", stage="sft")
    for n, first in enumerate([13, 24, None]):
        run = make_run(
            tmp_path / "runs", f"data/{n}", system="Tuna_p", tables=["figure3"], stage="tuna_p",
            datamodule={"first": first}, lists=first or 52,
        )  # fmt: skip
        make_result(tmp_path / "results", "elementary", f"d{n}", 0.5, run=run)
    (found,) = sweeps(tmp_path)
    assert found.name == "figure3" and xs(found) == {"": [13, 24, 52]}
    assert found.start is not None and found.start.label == "Alpaca"


def test_a_grid_gives_a_line_for_each_other_value(tmp_path: Path) -> None:
    for n, (weight, margin) in enumerate((w, m) for w in (0, 1, 5) for m in (0.1, 0.2)):
        make_run(tmp_path / "runs", f"grid/{n}", loss={"lambda": weight, "margin": margin})
    by_key = {sweep.key: xs(sweep) for sweep in sweeps(tmp_path)}
    assert by_key["loss.lambda"] == {"margin=0.1": [0, 1, 5], "margin=0.2": [0, 1, 5]}
    assert by_key["loss.margin"] == {f"lambda={x}": [0.1, 0.2] for x in (0, 1, 5)}


def test_words_are_no_sweep(tmp_path: Path) -> None:
    for n, name in enumerate(["a", "b"]):
        make_run(tmp_path / "runs", f"s/{n}", loss={"kind": name})
    assert sweeps(tmp_path) == []


def test_sweeps_whose_names_differ_in_case_and_punctuation_have_their_own_files(tmp_path: Path) -> None:
    for folder, system in (("a", "My_Model"), ("b", "my model")):
        for n, margin in enumerate([0.1, 0.2]):
            run = make_run(tmp_path / "runs", f"{folder}/{n}", system=system, loss={"margin": margin})
            make_result(tmp_path / "results", "elementary", f"{folder}{n}", margin, run=run)
    comparison = compare(tmp_path)[0]
    found = find_sweeps(comparison)
    assert [sweep.name for sweep in found] == ["my-model-loss-margin", "my-model-loss-margin-2"]
    drawn = [path.name for sweep in found for path, _ in draw_sweep(sweep, comparison, tmp_path)[0]]
    assert drawn == ["my-model-loss-margin-verifiable-tasks.png", "my-model-loss-margin-2-verifiable-tasks.png"]
