"""What W&B is told of a run beside its figures: made from what, answers before and after, and what it has made."""

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from tuna.runs import RunFolder
from tuna.tracking import lineage
from tuna.tracking.wandb_run import WandbRun
from tuna.training import samples

T = TypeVar("T")
log = logging.getLogger("tuna")


def begin(parts: Any, loggers: Sequence[Any]) -> None:
    """The starting model and the data files that the run is made from."""
    for run in _runs(loggers):
        for item in _told("inputs", lambda: _inputs(parts)) or ():
            run.use(item)


def end(parts: Any, target: RunFolder, metrics: dict[str, float], loggers: Sequence[Any]) -> None:
    """The final figures, the sample answers and the tuned model."""
    for run in _runs(loggers):
        run.log_summary(metrics)
        run.log_table("samples", _told("sample answers", lambda: _samples(parts, target)) or [])
        if made := _told("model", lambda: _made(parts, target, metrics)):
            run.produce(made)


def _told(what: str, make: Callable[[], T]) -> T | None:
    """What ``make`` gives; where it fails (no memory for a second model, a file that went away), a warning."""
    try:
        return make()
    except Exception as error:
        log.warning(f"W&B is not told the {what} ({type(error).__name__}: {error}); the run is not harmed")
        return None


def _runs(loggers: Sequence[Any]) -> list[WandbRun]:
    return [logger for logger in loggers if isinstance(logger, WandbRun) and logger.run is not None]


def _inputs(parts: Any) -> list[lineage.Item]:
    if parts.loggers.artifacts == "none":
        return []
    upload = parts.loggers.artifacts == "files"
    items = [lineage.starting_model(parts.resolved, upload=upload)]
    for source in parts.data.report.sources:
        told = {key: source.get(key) for key in ("format", "rows", "rank_by")}
        items.append(lineage.data_file(str(source["path"]), source["sha256"], told, upload=upload))
    return items


def _made(parts: Any, target: RunFolder, metrics: dict[str, float]) -> lineage.Item | None:
    if parts.loggers.artifacts == "none":
        return None
    told = {"stage": parts.config["stage"]["name"]} | {k: v for k, v in metrics.items() if k.startswith("val/")}
    return lineage.made_model(target.model, target.name, told, upload=parts.loggers.artifacts == "files")


def _samples(parts: Any, target: RunFolder) -> list[dict[str, str]]:
    """Those that were measured anyway, else a few that are made now."""
    if not parts.module.answers:
        return []
    count = parts.loggers.samples
    if count and not (target.path / "samples.jsonl").exists():
        samples.generate(parts, target, count)
    return samples.table(target, count)
