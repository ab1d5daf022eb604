"""tuna.tracking.labels: what a dashboard calls a run."""

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from tuna.sweeps.jobs import assign
from tuna.tracking.labels import tags, title


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
