"""tuna.tracking.metrics_file: metrics.csv row by row."""

import csv
from pathlib import Path

from tuna.tracking.metrics_file import MetricsFile


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_columns_are_added_as_they_come(tmp_path: Path) -> None:
    metrics = MetricsFile(tmp_path / "metrics.csv")
    metrics.log_metrics({"val/loss": 2.0}, step=0)
    metrics.log_metrics({"train/loss": 1.5}, step=1)
    metrics.log_metrics({"train/loss": 1.25, "val/loss": 1.0}, step=2)
    assert read(tmp_path / "metrics.csv") == [
        {"step": "0", "val/loss": "2.0", "train/loss": ""},
        {"step": "1", "val/loss": "", "train/loss": "1.5"},
        {"step": "2", "val/loss": "1.0", "train/loss": "1.25"},
    ]


def test_a_resumed_run_takes_back_the_rows_it_will_redo(tmp_path: Path) -> None:
    metrics = MetricsFile(tmp_path / "metrics.csv")
    for step in range(1, 6):
        metrics.log_metrics({"train/loss": float(step)}, step=step)
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("6,7")  # killed while writing
    again = MetricsFile(tmp_path / "metrics.csv", start_step=3)
    again.log_metrics({"train/loss": 40.0}, step=4)
    assert [(row["step"], row["train/loss"]) for row in read(tmp_path / "metrics.csv")] == [
        ("1", "1.0"), ("2", "2.0"), ("3", "3.0"), ("4", "40.0")
    ]  # fmt: skip


def test_a_row_that_comes_again_replaces_the_old_one(tmp_path: Path) -> None:
    """A kill after a row and before run.json: the resumed run measures the same once more."""
    path = tmp_path / "metrics.csv"
    metrics = MetricsFile(path)
    metrics.log_metrics({"val/loss": 3.0}, step=0)
    metrics.log_metrics({"train/loss": 2.0}, step=1)
    metrics.log_metrics({"train/loss": 1.0}, step=2)
    metrics.log_metrics({"val/loss": 1.5}, step=2)
    again = MetricsFile(path, start_step=2)
    again.log_metrics({"val/loss": 1.25}, step=2)
    assert [tuple(row.values()) for row in read(path)] == [
        ("0", "3.0", ""), ("1", "", "2.0"), ("2", "", "1.0"), ("2", "1.25", "")
    ]  # fmt: skip
    again.log_metrics({"train/loss": 0.5}, step=3)  # appending goes on
    assert [row["step"] for row in read(path)] == ["0", "1", "2", "2", "3"]
    first = MetricsFile(path, start_step=0)
    first.log_metrics({"val/loss": 4.0}, step=0)
    assert [tuple(row.values()) for row in read(path)] == [("0", "4.0", "")]
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.csv"]


def test_doubled_rows_of_an_older_file_become_one(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,val/loss\n0,1.0\n0,2.0\n")
    MetricsFile(tmp_path / "metrics.csv")
    assert [row["val/loss"] for row in read(tmp_path / "metrics.csv")] == ["2.0"]


def test_half_a_row_is_dropped_even_of_a_kept_step(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,train/loss,val/loss\n1,1.0,\n2,,0.12")
    MetricsFile(tmp_path / "metrics.csv", start_step=2)
    assert [row["step"] for row in read(tmp_path / "metrics.csv")] == ["1"]
