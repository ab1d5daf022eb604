"""What a dashboard calls a run: title, group and tags."""

from pathlib import Path, PurePath

from omegaconf import DictConfig, OmegaConf

from tuna.config.scale import is_tiny
from tuna.secrets import secret_in
from tuna.sweeps.jobs import job_in

_LONGEST = {"title": 120, "tag": 60}  # letters; W&B takes 128 and 64


def title(folder: Path, name: str) -> str:
    """The overrides in which a sweep's job in ``folder`` differs from its others, else the run's name.

    As in ``loss.lambda=5,seed=1``.
    """
    job = job_in(folder)
    told = [_short(text) for text in (job.swept if job else ()) if secret_in(text) is None]
    return ",".join(told)[: _LONGEST["title"]] or name


def _short(override: str) -> str:
    """An override without the folders of a path.

    >>> _short("model.path=/home/ann/runs/sft"), _short("loss.lambda=5")
    ('model.path=sft', 'loss.lambda=5')
    """
    key, _, value = override.partition("=")
    return f"{key}={PurePath(value).name}" if value.startswith(("/", "~")) else override


def group(name: str) -> str | None:
    """The sweep that a job's name tells of.

    >>> group("lambda-sweep/3"), group("tuna_c")
    ('lambda-sweep', None)
    """
    return name.rpartition("/")[0] or None


def tags(cfg: DictConfig) -> list[str]:
    """Stage, experiment, the paper's tables and figures that it is a row of, scale."""
    experiment = OmegaConf.to_container(cfg.experiment) if OmegaConf.is_config(cfg.get("experiment")) else {}
    assert isinstance(experiment, dict)
    rows = experiment or cfg.stage
    tables = [f"table {which}" if str(which).isdigit() else str(which) for which in rows.get("tables") or ()]
    found = [str(cfg.stage.name), experiment.get("name"), *tables, f"scale {'tiny' if is_tiny(cfg) else 'paper'}"]
    return [str(tag)[: _LONGEST["tag"]] for tag in dict.fromkeys(found) if tag]
