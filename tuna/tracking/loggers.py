"""Where figures go while a run trains: metrics.csv beside it, and Weights & Biases. The config node ``logger``."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tuna.errors import ConfigError
from tuna.tracking import labels
from tuna.tracking.wandb_mode import wandb_mode

if TYPE_CHECKING:  # rank.py builds this too, and needs no Lightning
    from lightning.pytorch.loggers import Logger

log = logging.getLogger("tuna")
MODES = ("auto", "online", "offline", "disabled")
ARTIFACTS = ("none", "metadata", "files")


class Loggers:
    """The loggers of a run.

    mode: "auto" is online where W&B is logged in (WANDB_API_KEY or a netrc entry) and offline elsewhere, so that
    nothing ever waits for an answer; "online", "offline" and "disabled" are W&B's own. WANDB_MODE wins over it.
    group: null is the sweep's name. title: null is a sweep's overrides, or the run's name. artifacts: "metadata" shows
    in W&B which model and data a run was made from and what it made, "files" uploads those that runs made, "none" does
    neither. samples: so many held-out instructions are shown with the answers before and after, 0 for none.

    Raises:
        ConfigError: a value is out of its range.
    """

    def __init__(
        self,
        *,
        csv: bool = True,
        wandb: bool = True,
        project: str = "tuna",
        entity: str | None = None,
        group: str | None = None,
        title: str | None = None,
        tags: Sequence[str] = (),
        mode: Literal["auto", "online", "offline", "disabled"] = "auto",
        artifacts: Literal["none", "metadata", "files"] = "metadata",
        samples: int = 8,
    ) -> None:
        self.csv, self.wandb = csv, wandb
        self.project, self.entity, self.group, self.title, self.tags = project, entity, group, title, list(tags)
        self.mode, self.artifacts, self.samples = mode, artifacts, samples
        wrong = [
            f"logger.{key}: expected one of {', '.join(allowed)}, got {value!r}"
            for key, value, allowed in (("mode", mode, MODES), ("artifacts", artifacts, ARTIFACTS))
            if value not in allowed
        ]
        if samples < 0:
            wrong.append(f"logger.samples: expected a whole number >= 0, got {samples!r}")
        if wrong:
            raise ConfigError("\n".join(wrong))

    def start(
        self,
        folder: Path,
        *,
        name: str,
        stage: str,
        start_step: int,
        run_id: str | None = None,
        config: dict[str, Any] | None = None,
        tags: Sequence[str] = (),
    ) -> "list[Logger]":
        """Open them for the run in ``folder``; rows of steps after ``start_step`` are taken back: they come again.

        run_id: W&B's, which a resumed run goes on with. stage: W&B's job type. config, tags: shown by W&B.
        """
        from tuna.tracking.metrics_file import MetricsFile

        loggers: list[Logger] = []
        if self.csv:
            loggers.append(MetricsFile(folder / "metrics.csv", start_step))
        return loggers + self.watch(folder, name=name, job_type=stage, run_id=run_id, config=config, tags=tags)

    def watch(
        self,
        folder: Path,
        *,
        name: str,
        job_type: str,
        run_id: str | None = None,
        config: dict[str, Any] | None = None,
        tags: Sequence[str] = (),
    ) -> "list[Logger]":
        """W&B's run alone, none where it is off."""
        mode = wandb_mode(self.mode)
        if not self.wandb or mode == "disabled":
            return []
        from tuna.tracking.wandb_run import Card, WandbRun

        card = Card(
            id=run_id,
            title=self.title or labels.title(folder, name),
            job_type=job_type,
            project=self.project,
            entity=self.entity,
            group=self.group or labels.group(name),
            tags=list(dict.fromkeys([*tags, *self.tags])),
            config=config or {},
        )
        return [WandbRun(folder, card, mode)]

    def finish(self, loggers: "Sequence[Logger]", status: str) -> None:
        """Close them; a run that did not finish is marked failed in W&B, with its status in the summary.

        Never raises: what a logger has to say against it goes to the log. W&B is waited for two minutes at most
        (WANDB_FINISH_TIMEOUT seconds).
        """
        for logger in loggers:
            try:
                logger.finalize("success" if status == "finished" else "failed")
            except Exception as error:
                _problem(logger, error)
            try:
                if close := getattr(logger, "finish", None):  # WandbRun's
                    close(status)
            except Exception as error:
                _problem(logger, error)


def _problem(logger: "Logger", error: Exception) -> None:
    log.warning(f"{type(logger).__name__} could not be closed ({type(error).__name__}: {error}); the run is not harmed")
