"""logger=tensorboard and logger=mlflow: Lightning's own loggers, read back by their libraries where these are there."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.training.make import overrides, write_lists, write_model
from tuna.config.compose import compose
from tuna.errors import ConfigError
from tuna.ranking.run import run as collect
from tuna.runs import RunFolder, read_run
from tuna.tracking.lightning_run import LightningRun, mlflow, tensorboard
from tuna.tracking.loggers import Loggers
from tuna.training.run import run


class Broken:
    """A logger of Lightning's kind whose server has gone away."""

    def __init__(self) -> None:
        self.rows: list[tuple[dict[str, float], int]] = []

    def log_hyperparams(self, config: dict[str, Any]) -> None:
        self.config = config

    def log_metrics(self, figures: dict[str, float], step: int) -> None:
        if step > 1:
            raise ConnectionError("gone")
        self.rows.append((figures, step))


def test_what_fails_is_said_once_and_harms_nothing(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_API_KEY", "very-secret-value")
    broken = Broken()
    logged = LightningRun("MLflow", lambda: broken)
    logged.log_config({"a": {"b": "very-secret-value"}})
    for step in range(5):
        logged.log_metrics({"train/loss": 1.5, "nan": float("nan")}, step)
    logged.finish("finished")
    assert broken.rows == [({"train/loss": 1.5}, 0), ({"train/loss": 1.5}, 1)]
    assert "very-secret" not in json.dumps(broken.config) and set(broken.config) == {"a"}
    assert [record.getMessage() for record in caplog.records] == [
        "MLflow takes no more (ConnectionError: gone); the run is not harmed"
    ]
    LightningRun("MLflow", lambda: 1 / 0).log_metrics({"a": 1.0}, 1)  # one that cannot be opened


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_a_library_that_is_missing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuna.tracking.lightning_run.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=f"^{name}: the package {name} is not installed; next: python -m pip install"):
        Loggers(tensorboard=name == "tensorboard", mlflow=name == "mlflow")
    Loggers()


def test_a_collection_takes_neither(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tuna.tracking.lightning_run.find_spec", lambda name: True)
    with pytest.raises(ConfigError, match="logger: a collection is shown by Weights & Biases alone; next: "):
        collect(compose(["logger=mlflow", "first=1", f"folder={tmp_path}"], config_name="rank"))


def train(folder: Path, logger: str, **changes: Any) -> Path:
    model, lists = write_model(folder / "llama"), write_lists(folder / "lists.jsonl")
    run(compose(overrides(model, lists, folder / "runs", name="a", logger=logger, trainer__max_steps=3, **changes)))
    return folder / "runs" / "a"


def test_tensorboard_shows_a_run(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="an extra: logger=tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = train(tmp_path, "tensorboard")
    tensorboard(folder, 2).log_metrics({"train/loss": 9.0}, 3)  # as a run does that goes on from step 2
    found = EventAccumulator(str(folder / "tensorboard"))
    found.Reload()
    rows = {event.step: event.value for event in found.Scalars("train/loss")}
    assert list(rows) == [1, 2, 3] and rows[3] == 9.0
    assert found.Scalars("val/loss")[0].step == 0


@pytest.mark.parametrize("own", [None, "false"])
def test_mlflow_sends_no_usage_data_unless_that_was_asked_for(
    own: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def logger(*_: Any, **__: Any) -> Any:
        seen.append(os.environ.get("MLFLOW_DISABLE_TELEMETRY"))
        raise ConnectionError

    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", own or "")
    if own is None:
        monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY")
    monkeypatch.setattr("lightning.pytorch.loggers.MLFlowLogger", logger)
    mlflow(tmp_path, experiment="mine", title="a", tracking_uri=None, tags=[])
    assert seen == [own or "true"]


def test_mlflow_shows_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = pytest.importorskip("mlflow", reason="an extra: logger=mlflow").MlflowClient
    pytest.importorskip("sqlalchemy", reason="MLflow keeps its runs with it")
    address = f"sqlite:///{tmp_path}/mlflow.db"
    folder = train(tmp_path, "mlflow", logger__tracking_uri=address, logger__project="mine")
    found = client(address).get_run(read_run(folder)["mlflow_run"])
    assert found.info.status == "FINISHED" and found.info.run_name == "a"
    assert found.data.params["loss/lambda"] == "1.0" and "tuna_c" in found.data.tags["tuna.tags"]
    history = client(address).get_metric_history(found.info.run_id, "train/loss")
    assert [each.step for each in history] == [1, 2, 3]
    RunFolder(folder, "a").update(status="running")
    again = mlflow(folder, experiment="mine", title="a", tracking_uri=address, tags=[])
    again.log_metrics({"train/loss": 1.0}, 4)
    again.finish("failed")
    assert len(client(address).search_runs([found.info.experiment_id])) == 1
    assert client(address).get_run(found.info.run_id).info.status == "FAILED"
