"""tuna.training.loggers: metrics.csv row by row, and W&B that never asks."""

import csv
from pathlib import Path

import pytest

from tuna.training.loggers import Loggers, MetricsFile, wandb_mode


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


def test_wandb_is_offline_unless_logged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert wandb_mode("auto") == wandb_mode("online") == "offline"
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password x\n")
    assert wandb_mode("auto") == "online" and wandb_mode("offline") == "offline"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert wandb_mode("auto") == "disabled"


def test_none_at_all(tmp_path: Path) -> None:
    assert Loggers(csv=False, wandb=False).start(tmp_path, name="x", stage="sft", start_step=0) == []
