"""Where figures go while a run trains: metrics.csv beside it, and Weights & Biases. The config node ``logger``."""

import csv
import netrc
import os
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlparse

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from tuna.training import distributed


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
        """Close them; a run that did not finish is marked failed, so that no dashboard shows it as done."""
        for logger in loggers:
            logger.finalize("success" if status == "finished" else "failed")
            if type(logger).__name__ == "WandbLogger" and distributed.rank() == 0:
                import wandb

                if wandb.run is not None:
                    wandb.run.summary["status"] = status
                    wandb.finish(exit_code=0 if status == "finished" else 1)

    def _wandb(self, folder: Path, name: str, stage: str, run_id: str | None, config: dict[str, Any]) -> Logger:
        import wandb
        from lightning.pytorch.loggers import WandbLogger

        mode = wandb_mode(self.mode)
        if mode == "offline":
            wandb.setup(wandb.Settings(silent=True))
        # x_disable_meta: W&B would store the command line. console=off: our own log.txt holds the output.
        settings = wandb.Settings(x_disable_meta=True, console="off", silent=mode == "offline")
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
    """metrics.csv: a row a logged step, a column a metric; new columns are added as they come, at the end."""

    def __init__(self, path: Path, start_step: int = 0) -> None:
        super().__init__()
        self.path = path
        self.columns = ["step"]
        self.rows: list[dict[str, str]] = []
        if path.exists():
            with path.open(encoding="utf-8", newline="") as file:
                reader = csv.DictReader(file)
                self.columns = list(reader.fieldnames or ["step"])
                self.rows = [row for row in reader if row["step"].isdigit() and int(row["step"]) <= start_step]
            self._rewrite()

    @property
    def name(self) -> str:
        """The kind of logger."""
        return "metrics"

    @property
    def version(self) -> str:
        """The file."""
        return self.path.name

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: run.json holds the config."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Append one row, and flush it."""
        row = {"step": str(step or 0)} | {k: repr(float(v)) for k, v in metrics.items() if k != "epoch"}
        if len(row) == 1:
            return
        self.rows.append(row)
        added = [key for key in row if key not in self.columns]
        if added or not self.path.exists():
            self.columns += added
            self._rewrite()
            return
        with self.path.open("a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, self.columns, restval="").writerow(row)

    def _rewrite(self) -> None:
        temporary = self.path.with_suffix(".csv.tmp")
        with temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, self.columns, restval="")
            writer.writeheader()
            writer.writerows(self.rows)
        temporary.replace(self.path)
