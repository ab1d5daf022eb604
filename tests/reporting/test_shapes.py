from pathlib import Path

import pytest

from tests.reporting.make import make_ranking, make_result, make_run, write
from tests.reporting.test_compare import compare, measure
from tests.reporting.test_sweeps import lambdas
from tuna.errors import DataError
from tuna.reporting import shapes
from tuna.reporting.read import Found
from tuna.reporting.sweeps import find_sweeps
from tuna.reporting.tables import Table


def rows(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row] for row in table.rows]


def test_tables_hold_their_systems_beside_the_baseline(tmp_path: Path) -> None:
    for label, tables in (("Alpaca", [1, 3, 8]), ("Tuna_c", [1, 8]), ("Alpaca-Mul", [3]), ("PRM-3B", [])):
        run = make_run(tmp_path / "runs", label, system=label, tables=tables, stage=label)
        make_result(tmp_path / "results", "elementary", label, 0.5, run=run)
    make_result(tmp_path / "results", "elementary", "llama", 0.1)
    lambdas(tmp_path, ["figure2"], [0, 5])
    found = {table.key: [row[0] for row in rows(table)] for table in shapes.system_tables(compare(tmp_path)[0])}
    assert found == {
        "table-1": ["Alpaca", "Tuna_c", "llama"], "table-3": ["Alpaca", "Alpaca-Mul"], "table-8": ["Alpaca", "Tuna_c"],
    }  # fmt: skip


def test_figures_differences_and_gaps(tmp_path: Path) -> None:
    measure(tmp_path, "Alpaca", 0, 0.5, covered=(9, 10))
    for seed in range(2):
        measure(tmp_path, "Tuna_c", seed, 0.7 + seed / 10)
    make_run(tmp_path / "runs", "extra", system="Tuna_c", seed=7, stage="tuna_c")
    comparison, _ = compare(tmp_path)
    table = shapes._systems_table(comparison, comparison.systems, "t", "T")
    assert [cell.text for cell in table.rows[1]] == ["Tuna_c", "3", "0.750"]
    assert table.rows[1][2].notes == ("[0.092, 0.989]", "Δ +0.250")  # t(1) = 12.706, s / sqrt(2) = 0.05
    # half 0.6353 / (0.75 * 0.25) = 3.388 on either side of the log odds, 1.0986
    assert table.notes == [
        "Alpaca, Verifiable tasks, seed 0: over 9 of 10 questions",
        "Tuna_c, Verifiable tasks: not measured for seed 7",
    ]


def test_a_sweep_counts_failures(tmp_path: Path) -> None:
    lambdas(tmp_path, ["figure2"], [0, 1, 5])
    make_run(tmp_path / "runs", "l/9", system="Tuna_c", tables=["figure2"], loss={"lambda": 5}, seed=1, status="failed")
    comparison, _ = compare(tmp_path)
    table = shapes.sweep_table(find_sweeps(comparison)[0], comparison)
    assert [row[0] for row in rows(table)] == ["0", "1", "5"]
    assert table.rows[2][2].notes == ("1 not finished",)
    assert [row[3] for row in rows(table)] == ["0.000", "0.100", "0.200"]


def test_all_scores_and_what_needs_no_model(tmp_path: Path) -> None:
    measure(
        tmp_path, "Tuna_c", 0, 0.8, "agreement", baselines={"accuracy": {"chance": 0.5, "length-only": 0.58}},
        scores={"accuracy": 0.8, "kendall": 0.4}, notes=["a note"],
    )  # fmt: skip
    (table,) = shapes.benchmark_tables(compare(tmp_path)[0])
    assert table.head == ["system", "questions", "accuracy", "kendall"] and table.notes == ["a note"]
    assert rows(table) == [
        ["Tuna_c", "10", "0.800", "0.400"], ["(chance)", "-", "0.500", "-"], ["(length-only)", "-", "0.580", "-"],
    ]  # fmt: skip


def test_held_out_figures_of_the_runs_stand_beside_their_baselines(tmp_path: Path) -> None:
    metrics = {"val/pair_accuracy": 0.8, "before/pair_accuracy": 0.6, "val/loss_ce": 1.5}
    make_run(tmp_path / "runs", "a", system="Tuna_c", metrics=metrics)
    table = shapes.held_out_table(compare(tmp_path)[0])
    assert rows(table) == [["Tuna_c", "1", "0.600", "0.800", "0.580", "0.500", "1.500"]]


def test_lengths_and_cost(tmp_path: Path) -> None:
    make_ranking(tmp_path, "judged", lengths=[6, 5.5])
    rankings = Found.read([], [tmp_path], []).rankings
    assert rows(shapes.length_table(rankings)) == [
        ["judged", "contextual by checker", "500", "6.000", "5.500", "0.400"]
    ]
    # $2 for 500 lists is $4 for 1,000; 6 comparisons of 4 answers at $0.25 are $1,500
    assert rows(shapes.cost_table(rankings)) == [["judged", "500", "1,000", "650,000", "$2.00", "$4.00", "$1,500.00"]]
    assert rows(shapes.length_table([])) == rows(shapes.cost_table([])) == []


def test_a_study_of_several_systems_stands_apart(tmp_path: Path) -> None:
    tables = {"by_system": [{"system": "Tuna", "points": 4.25, "best": None, "sure": True}]}
    path = make_result(tmp_path / "results", "human_study", "human_study", 4.0, tables=tables)
    path.write_text(path.read_text().replace('"kind": "local"', '"kind": "none"'))
    found = Found.read([], [], [tmp_path / "results"])
    (table,) = shapes.study_tables(found)
    assert table.title == "Human study: by_system" and rows(table) == [["Tuna", "4.250", "-", "true"]]


def test_the_papers_numbers_are_tables_of_their_own(tmp_path: Path) -> None:
    cells = [("1", "Tuna", "A", 1.5), ("1", "Alpaca", "B", 2), ("8", "Tuna", "A", 3.0)]
    rows_given = [dict(zip(("table", "system", "column", "value"), cell, strict=True)) for cell in cells]
    first, second = shapes.read_paper_tables(write(tmp_path / "cells.json", rows_given))
    assert first.head == ["system", "A", "B"] and rows(first) == [["Tuna", "1.5", "-"], ["Alpaca", "-", "2"]]
    assert first.title == "The paper's Table 1, at 7B" and second.key == "paper-8"


@pytest.mark.parametrize("finished", [True, False])
def test_no_result_is_an_empty_table_not_an_error(tmp_path: Path, finished: bool) -> None:
    make_run(tmp_path / "runs", "a", system="Tuna_c", tables=[1], status="finished" if finished else "failed")
    (table,) = shapes.system_tables(compare(tmp_path)[0])
    assert rows(table) == [["Tuna_c", "1" if finished else "0"]] and "No system has a result yet" in table.caption


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "expected JSON"),
        ("{}", "expected a list of cells, got dict"),
        (
            '[{"table": "1", "system": "T", "column": "c", "value": "x"}]',
            "cell 1: value: expected a finite number, got 'x'",
        ),
        ('[{"table": "1", "system": "T", "column": "c", "value": NaN}]', "cell 1: value: expected a finite number"),
        ("[" * 2000 + "]" * 2000, "expected JSON, got lists or objects nested"),
        ('[{"table": 1, "system": "T", "column": "c", "value": 1}, 5]', "cell 1: table: expected a string, got 1"),
    ],
)
def test_wrong_cells(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "cells.json"
    path.write_text(text)
    with pytest.raises(DataError, match=told):
        shapes.read_paper_tables(path)
