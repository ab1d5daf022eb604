"""A run in TensorBoard or MLflow, by Lightning's own loggers. As with W&B, what they cannot do is a warning: they never
stop or fail a run.
"""

import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tuna.runs import RunFolder, read_run
from tuna.secrets import clean, mask_words

log = logging.getLogger("tuna")
MODULES = {"tensorboard": ("tensorboard", "tensorboardX"), "mlflow": ("mlflow",)}  # what Lightning's loggers take


def lacking(name: str) -> str | None:
    """What is wrong where the library of a logger is not installed."""
    if any(find_spec(module) for module in MODULES[name]):
        return None
    return f"{name}: the package {name} is not installed; next: python -m pip install {name}, or another logger="


class LightningRun:
    """Takes the figures of a run while it trains; ``make`` opens Lightning's logger. name: TensorBoard or MLflow."""

    def __init__(self, name: str, make: Callable[[], Any]) -> None:
        self.name, self._failed = name, False
        self._logger: Any = None
        self._safely(lambda: setattr(self, "_logger", make()))

    def log_config(self, config: Mapping[str, Any]) -> None:
        """The settings, without secrets."""
        shown = clean(config, mask_words)
        self._safely(lambda: self._logger and self._logger.log_hyperparams(shown))

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """One step's figures; NaN and infinity are left out."""
        figures = {key: float(value) for key, value in metrics.items() if math.isfinite(value)}
        self._safely(lambda: self._logger and self._logger.log_metrics(figures, step))

    def finish(self, status: str) -> None:
        """Write what is left; status: finished, failed or interrupted."""
        self._safely(lambda: self._logger and self._logger.finalize("success" if status == "finished" else "failed"))

    def _safely(self, act: Callable[[], object]) -> None:
        if self._failed:
            return
        try:
            act()
        except Exception as error:
            self._failed = True
            log.warning(f"{self.name} takes no more ({type(error).__name__}: {error}); the run is not harmed")


def tensorboard(folder: Path, start_step: int) -> LightningRun:
    """Event files in ``folder``/tensorboard; figures after ``start_step``, from which a run goes on, are dropped."""

    def make() -> Any:
        from lightning.pytorch.loggers import TensorBoardLogger

        begin: dict[str, Any] = {"purge_step": start_step + 1} if start_step else {}
        return TensorBoardLogger(folder, name="", version="tensorboard", default_hp_metric=False, **begin)

    return LightningRun("TensorBoard", make)


def mlflow(
    folder: Path, *, experiment: str, title: str, tracking_uri: str | None, tags: Sequence[str]
) -> LightningRun:  # fmt: skip
    """A run of MLflow's ``experiment``; one that goes on is the same run there, by the id that run.json has.

    tracking_uri: where MLflow keeps it; None is MLFLOW_TRACKING_URI, else mlflow.db in the folder one is in, as MLflow
    itself has it (Lightning's own mlruns/ is what it refuses by now).
    """

    def make() -> Any:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # from 3.2 on it sends usage data; read at its import
        from lightning.pytorch.loggers import MLFlowLogger

        logger = MLFlowLogger(
            experiment, run_name=title, tags={"tuna.tags": ", ".join(tags)},
            tracking_uri=tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db",
            run_id=read_run(folder).get("mlflow_run"),
        )  # fmt: skip
        RunFolder(folder, folder.name).update(mlflow_run=logger.run_id)
        return logger

    return LightningRun("MLflow", make)
