"""Where the figures of a run or a collection go besides its own files. The config node ``logger``."""

import csv
import io
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal

from annotated_types import Ge
from omegaconf import DictConfig, OmegaConf

from tuna.config.compose import is_tiny
from tuna.config.types import checked
from tuna.errors import ConfigError
from tuna.files import replacing
from tuna.secrets import secret_in
from tuna.sweeps.jobs import job_in
from tuna.tracking.lightning_run import MODULES, LightningRun, lacking, mlflow, tensorboard
from tuna.tracking.wandb_run import WandbRun, wandb_mode

_TITLE, _TAG = 120, 60  # letters; W&B takes 128 and 64


class MetricsFile:
    """metrics.csv: one row per logged step, one column per metric; new columns are added at the end as they come. Rows
    after ``start_step``, from which a run goes on, are dropped; a row that comes again replaces the old one.
    """

    def __init__(self, path: Path, start_step: int = 0) -> None:
        self.path = path
        self.columns = ["step"]
        self.rows: dict[tuple[str, frozenset[str]], dict[str, str]] = {}  # by step and filled columns, in order
        if not path.exists():
            return
        text = path.read_text(encoding="utf-8", errors="replace")
        text = text[: text.rfind("\n") + 1]  # what a killed process was writing has no end
        reader = csv.DictReader(io.StringIO(text, newline=""))
        self.columns = list(reader.fieldnames or ["step"])
        for row in reader:
            whole = None not in row and None not in row.values()
            if whole and row["step"].isdigit() and int(row["step"]) <= start_step:
                self.rows[_key(row)] = row
        self._rewrite()

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Append one row and flush it. NaN and infinity are left out."""
        row = {"step": str(step)} | {k: repr(float(v)) for k, v in metrics.items() if math.isfinite(v)}
        if len(row) == 1:
            return
        added = [key for key in row if key not in self.columns]
        self.columns += added
        appends = not added and _key(row) not in self.rows and self.path.exists()
        self.rows[_key(row)] = row
        if not appends:
            self._rewrite()
            return
        with self.path.open("a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, self.columns, restval="").writerow(row)

    def _rewrite(self) -> None:
        with replacing(self.path) as file:
            writer = csv.DictWriter(file, self.columns, restval="")
            writer.writeheader()
            writer.writerows(self.rows.values())


def _key(row: Mapping[str, str]) -> tuple[str, frozenset[str]]:
    return row["step"], frozenset(column for column, value in row.items() if value)


Logger = MetricsFile | WandbRun | LightningRun  # takes the figures of a run while it trains


@checked
@dataclass(frozen=True, kw_only=True, slots=True)
class Loggers:
    """Whether metrics.csv is written, and how W&B shows the run (docs/wandb.md).

    csv: write metrics.csv. wandb: send the run to Weights & Biases, or keep it offline for it. project: of W&B. entity:
    user or team of W&B; null is one's own. group: what W&B puts together; null is the sweep's name. title: the run's
    name in W&B; null is its own, or what differs in a sweep. tags: beside those of stage, experiment and scale. mode:
    auto is online where W&B is logged in, else offline. artifacts: what W&B is sent of models and data: hashes and
    figures (metadata), their files, or none. samples: held-out instructions with the answers before and after.
    """

    csv: bool = True
    wandb: bool = True
    project: str = "tuna"
    entity: str | None = None
    group: str | None = None
    title: str | None = None
    tags: Sequence[str] = ()
    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    artifacts: Literal["none", "metadata", "files"] = "metadata"
    samples: Annotated[int, Ge(0)] = 8
    tensorboard: bool = False  # write event files into tensorboard/ of the run's folder (needs the package tensorboard)
    mlflow: bool = False  # send the run to MLflow, as the experiment ``project`` (needs the package mlflow)
    tracking_uri: str | None = None  # MLflow's; null is $MLFLOW_TRACKING_URI, else the file mlflow.db here

    def __post_init__(self) -> None:
        wrong = [text for name in MODULES if getattr(self, name) and (text := lacking(name))]
        if wrong:
            raise ConfigError("\n".join(wrong))

    def start_others(
        self, folder: Path, *, name: str, start_step: int, config: Mapping[str, Any], tags: Sequence[str]
    ) -> list[LightningRun]:
        """Open the run in ``folder`` in TensorBoard and MLflow, as far as they are asked for."""
        found = [tensorboard(folder, start_step)] if self.tensorboard else []
        if self.mlflow:
            shown = {"experiment": self.project, "title": self.title or title(folder, name)}
            found.append(mlflow(folder, **shown, tracking_uri=self.tracking_uri, tags=[*tags, *self.tags]))
        for each in found:
            each.log_config(config)
        return found

    def start_wandb(
        self, folder: Path, *, name: str, run_id: str, job_type: str, config: Mapping[str, Any], tags: Sequence[str]
    ) -> WandbRun:
        """Open the W&B run of the run in ``folder``. run_id: W&B's, which a resumed run goes on with."""
        about = {
            "id": run_id,
            "resume": "allow",
            "name": self.title or title(folder, name),
            "job_type": job_type,
            "project": self.project,
            "entity": self.entity,
            "group": self.group or name.rpartition("/")[0] or None,  # a sweep's job is called SWEEP/NUMBER
            "tags": list(dict.fromkeys([*tags, *self.tags])),
            "config": config,
        }
        return WandbRun(folder, wandb_mode(self.mode) if self.wandb else "disabled", self.artifacts, about)


def title(folder: Path, name: str) -> str:
    """The overrides in which a sweep's job differs from its others (``loss.lambda=5,seed=1``); else the run's name."""
    job = job_in(folder)
    shown = [_short(text) for text in (job.swept if job else _of_agent()) if secret_in(text) is None]
    return ",".join(shown)[:_TITLE] or name


def _of_agent() -> list[str]:
    """The settings that W&B's agent gave this run, from the file that it names."""
    path = os.environ.get("WANDB_SWEEP_PARAM_PATH")
    if not path or not Path(path).is_file():
        return []
    given: Any = OmegaConf.to_container(OmegaConf.load(path))
    known = given.items() if isinstance(given, dict) else ()
    return [f"{key}={value['value']}" for key, value in known if isinstance(value, dict) and "value" in value]


def _short(override: str) -> str:
    """An override without the folders of a path."""
    key, _, value = override.partition("=")
    return f"{key}={PurePath(value).name}" if value.startswith(("/", "~")) else override


def tags(cfg: DictConfig) -> list[str]:
    """Stage, experiment, the paper's tables and figures that it is a row of, scale."""
    experiment = cfg.get("experiment") or {}
    rows = (experiment or cfg.stage).get("tables") or ()
    tables = [f"table {which}" if str(which).isdigit() else str(which) for which in rows]
    found = [str(cfg.stage.name), experiment.get("name"), *tables, f"scale {'tiny' if is_tiny(cfg) else 'paper'}"]
    return [str(tag)[:_TAG] for tag in dict.fromkeys(found) if tag]
