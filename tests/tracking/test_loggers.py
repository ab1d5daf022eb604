"""tuna.tracking.loggers: the config node, what a dashboard calls a run, metrics.csv, a collection as a W&B run."""

import csv
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from tests.inference.http_server import LoopbackServer
from tests.inference.make import write_instructions
from tests.tracking import wandb_file
from tuna.data.files import sha256_file
from tuna.entry import main
from tuna.errors import ConfigError
from tuna.programs import RANK
from tuna.sweeps.jobs import assign
from tuna.tracking.loggers import Loggers, MetricsFile, tags, title
from tuna.tracking.wandb_run import data_file


def test_a_job_is_called_by_what_is_swept(tmp_path: Path) -> None:
    job = assign(tmp_path, "abc", ["loss.lambda=5", "datamodule.path=/home/ann/lists.jsonl", "judge.api_key=abc"])
    assert title(job.folder, "sw/0") == "loss.lambda=5,datamodule.path=lists.jsonl"
    assert title(tmp_path / "alone", "tuna_c-20260131") == "tuna_c-20260131"


def test_a_long_title_is_cut(tmp_path: Path) -> None:
    job = assign(tmp_path, "abc", [f"stage.summary={'x' * 500}"])
    assert len(title(job.folder, "sw/0")) == 120


def test_tags_say_stage_experiment_tables_and_scale() -> None:
    cfg: dict[str, Any] = {"stage": {"name": "tuna_c"}, "model": {"path": "tiny"}, "scale": "auto", "experiment": None}
    assert tags(OmegaConf.create(cfg)) == ["tuna_c", "scale tiny"]
    row = {"stage": {"name": "tuna_c", "tables": [1, 8]}}
    assert tags(OmegaConf.create(cfg | row)) == ["tuna_c", "table 1", "table 8", "scale tiny"]
    cfg |= {"experiment": {"name": "tuna_c_lambda", "tables": [1, "figure2", "A"]}, "scale": "paper"}
    assert tags(OmegaConf.create(cfg)) == ["tuna_c", "tuna_c_lambda", "table 1", "figure2", "A", "scale paper"]


@pytest.mark.parametrize("wrong", [{"artifacts": "all"}, {"samples": -1}, {"mode": "on"}])
def test_values_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"^{next(iter(wrong))}: expected"):
        Loggers(**wrong)


@pytest.mark.once
def test_a_collection_is_a_run_between_model_and_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["rank.py"])
    main(RANK, [f"folder={tmp_path}", "name=lists", "first=3", "ranker.n=2", "sampler.max_tokens=8", "logger=wandb"])
    run = wandb_file.read_one(tmp_path / "lists.store")
    assert (run.run.job_type, run.run.display_name, run.exit_code) == ("rank", "lists", 0)
    assert run.config["ranker"]["n"] == 2 and run.summary["status"] == "finished"
    figures = json.loads((tmp_path / "lists.report.json").read_text())
    assert run.summary["lists"] == figures["lists"] and run.summary["requests"] == 0
    assert set(run.used()) == {"model-tiny"}
    output = tmp_path / "lists.jsonl"
    (made,) = [item for item in run.artifacts if not item.use_after_commit]
    as_train_has_it = data_file(str(output), sha256_file(output), {})
    assert made.name == as_train_has_it.name == "dataset-lists"
    (entry,) = made.manifest.contents
    assert json.loads(Path(entry.local_path).read_text()) == as_train_has_it.identity


@pytest.mark.once
def test_one_that_is_stopped_is_marked_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["rank.py"])
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    write_instructions(tmp_path / "in.jsonl", 3)
    words = [
        f"folder={tmp_path}",
        "name=lists",
        f"input={tmp_path / 'in.jsonl'}",
        "model=tiny",
        "ranker.n=2",
        "sampler.max_tokens=8",
    ]
    with LoopbackServer(lambda prompt, nth: {"kind": "status", "status": 401}) as server:
        words += ["judge=openai", f"judge.base_url={server.url}", "judge.model=m", "logger=wandb"]
        with pytest.raises(SystemExit) as stopped:
            main(RANK, words)
    assert stopped.value.code == 1
    run = wandb_file.read_one(tmp_path / "lists.store")
    assert (run.exit_code, run.summary["status"]) == (1, "failed")
    assert set(run.used()) == {"model-tiny", "dataset-in"}


@pytest.mark.once
def test_without_it_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["rank.py"])
    main(RANK, [f"folder={tmp_path}", "name=lists", "first=2", "ranker.n=2", "sampler.max_tokens=8"])
    assert not (tmp_path / "lists.store" / "wandb").exists() and (tmp_path / "lists.jsonl").exists()


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
