"""Where figures go while a run trains: metrics.csv beside it, and Weights & Biases. The config node ``logger``."""

import csv
import io
import logging
import netrc
import os
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlparse

from lightning.pytorch.loggers import Logger

from tuna.training import distributed

log = logging.getLogger("tuna")
FINISH_TIMEOUT = 120.0  # seconds for which the end of a run waits for W&B's upload


class Loggers:
    """The loggers of a run.

    mode: "auto" is online where W&B is logged in (WANDB_API_KEY or a netrc entry) and offline elsewhere, so that
    nothing ever waits for an answer; "online", "offline" and "disabled" are W&B's own. WANDB_MODE wins over it.
    """

    def __init__(
        self,
        *,
        csv: bool = True,
        wandb: bool = True,
        project: str = "tuna",
        entity: str | None = None,
        group: str | None = None,
        tags: Sequence[str] = (),
        mode: Literal["auto", "online", "offline", "disabled"] = "auto",
    ) -> None:
        self.csv, self.wandb = csv, wandb
        self.project, self.entity, self.group, self.tags, self.mode = project, entity, group, list(tags), mode

    def start(
        self,
        folder: Path,
        *,
        name: str,
        stage: str,
        start_step: int,
        run_id: str | None = None,
        config: dict[str, Any] | None = None,
    ) -> list[Logger]:
        """Open them for the run in ``folder``; rows of steps after ``start_step`` are taken back: they come again.

        run_id: W&B's, which a resumed run goes on with. config: shown by W&B.
        """
        loggers: list[Logger] = []
        if self.csv:
            loggers.append(MetricsFile(folder / "metrics.csv", start_step))
        if self.wandb and wandb_mode(self.mode) != "disabled":
            loggers.append(self._wandb(folder, name, stage, run_id, config or {}))
        return loggers

    def finish(self, loggers: Sequence[Logger], status: str) -> None:
        """Close them; a run that did not finish is marked failed, so that no dashboard shows it as done.

        Never raises: what a logger has to say against it goes to the log. W&B is waited for ``FINISH_TIMEOUT`` seconds.
        """
        for logger in loggers:
            try:
                logger.finalize("success" if status == "finished" else "failed")
            except Exception as error:
                _problem(logger, error)
            try:
                if type(logger).__name__ == "WandbLogger" and distributed.rank() == 0:
                    _finish_wandb(status)
            except Exception as error:
                _problem(logger, error)

    def _wandb(self, folder: Path, name: str, stage: str, run_id: str | None, config: dict[str, Any]) -> Logger:
        """W&B's logger, offline where its server cannot be reached: what is logged can be sent later (wandb sync)."""
        mode = wandb_mode(self.mode)
        logger = self._wandb_logger(mode, folder, name, stage, run_id, config)
        if mode == "online" and distributed.rank() == 0:
            try:
                _ = logger.experiment  # type: ignore[attr-defined]  # opens the run
            except Exception as error:
                log.warning(f"W&B cannot be reached ({type(error).__name__}); logging offline, see wandb sync")
                logger = self._wandb_logger("offline", folder, name, stage, run_id, config)
        return logger

    def _wandb_logger(
        self, mode: str, folder: Path, name: str, stage: str, run_id: str | None, config: dict[str, Any]
    ) -> Logger:
        import wandb
        from lightning.pytorch.loggers import WandbLogger

        if mode == "offline" and distributed.rank() == 0:
            wandb.setup(wandb.Settings(silent=True))
        # x_disable_meta: W&B would store the command line. console=off: our own log.txt holds the output.
        settings = wandb.Settings(x_disable_meta=True, console="off", silent=mode == "offline")
        if "WANDB_FINISH_TIMEOUT" not in os.environ and hasattr(settings, "finish_timeout"):
            settings.finish_timeout = FINISH_TIMEOUT  # older W&B waits for its upload without end
        return WandbLogger(
            name=name,
            save_dir=str(folder),
            id=run_id,
            project=self.project,
            entity=self.entity,
            group=self.group,
            tags=self.tags,
            job_type=stage,
            mode=mode,
            settings=settings,
            config=config,
        )


def _finish_wandb(status: str) -> None:
    import wandb

    if wandb.run is None:  # nothing was logged, or W&B did not start
        return
    try:
        wandb.run.summary["status"] = status
    finally:
        wandb.finish(exit_code=0 if status == "finished" else 1)


def _problem(logger: Logger, error: Exception) -> None:
    log.warning(f"{type(logger).__name__} could not be closed ({type(error).__name__}: {error}); the run is not harmed")


def wandb_mode(mode: str) -> str:
    """The mode W&B runs in: never one that asks a question."""
    mode = os.environ.get("WANDB_MODE") or mode
    if mode not in ("auto", "online"):
        return {"dryrun": "offline"}.get(mode, mode)
    return "online" if _logged_in() else "offline"


def _logged_in() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    file = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    try:
        return netrc.netrc(str(file)).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


class MetricsFile(Logger):
    """metrics.csv: a row a logged step, a column a metric; new columns are added as they come, at the end.

    A row that comes again (same step, same columns: the run was killed after it and resumed) replaces the old one.
    Process 0 alone reads and writes it.
    """

    def __init__(self, path: Path, start_step: int = 0) -> None:
        super().__init__()
        self.path = path
        self.columns = ["step"]
        self.rows: list[dict[str, str]] = []
        if distributed.rank() == 0 and path.exists():
            self._read(start_step)
            self._rewrite()

    @property
    def name(self) -> str:
        """The kind of logger."""
        return "metrics"

    @property
    def version(self) -> str:
        """The file."""
        return self.path.name

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: run.json holds the config."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Append one row, and flush it."""
        row = {"step": str(step or 0)} | {k: repr(float(v)) for k, v in metrics.items() if k != "epoch"}
        if len(row) == 1 or distributed.rank() != 0:
            return
        added = [key for key in row if key not in self.columns]
        self.columns += added
        if self._put(row) or added or not self.path.exists():
            self._rewrite()
            return
        with self.path.open("a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, self.columns, restval="").writerow(row)

    def _put(self, row: dict[str, str]) -> bool:
        """Add ``row``; True when it took the place of an older one."""
        for index in range(len(self.rows) - 1, -1, -1):
            if int(self.rows[index]["step"]) < int(row["step"]):
                break  # steps ascend
            if _filled(self.rows[index]) == _filled(row) and self.rows[index]["step"] == row["step"]:
                self.rows[index] = row
                return True
        self.rows.append(row)
        return False

    def _read(self, start_step: int) -> None:
        text = self.path.read_text(encoding="utf-8", errors="replace")
        text = text[: text.rfind("\n") + 1]  # what a killed process was writing has no end
        reader = csv.DictReader(io.StringIO(text, newline=""))
        self.columns = list(reader.fieldnames or ["step"])
        for row in reader:
            whole = None not in row and None not in row.values()
            if whole and row["step"].isdigit() and int(row["step"]) <= start_step:
                self._put(row)

    def _rewrite(self) -> None:
        temporary = self.path.with_suffix(".csv.tmp")
        with temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, self.columns, restval="")
            writer.writeheader()
            writer.writerows(self.rows)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path)


def _filled(row: dict[str, str]) -> set[str]:
    return {column for column, value in row.items() if value}
