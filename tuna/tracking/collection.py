"""A collection as a W&B run (logger=wandb): its settings and figures, what it was made from and the lists it has made.

With the runs of train.py that makes the whole graph: model -> ranked lists -> model.
"""

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tuna.data.files import sha256_file
from tuna.ranking.collection import Components, Ranker
from tuna.ranking.settings import OutputPaths

log = logging.getLogger("tuna")


@contextmanager
def tracked_by_wandb(
    loggers: Any,
    *,
    places: OutputPaths,
    name: str,
    config: dict[str, Any],
    ranker: Ranker,
    parts: Components,
    source: str | None,
) -> Iterator[Callable[[dict[str, float], bool], None]]:
    """Open it for the collection ``name``; gives what takes the final figures, and whether the lists are complete.

    loggers: tuna.tracking.loggers.Loggers. source: the file of instructions. A fault, or lists that are not complete,
    marks it failed.
    """
    run_id = f"{name}-{hashlib.sha256(str(places.output.resolve()).encode()).hexdigest()[:8]}".replace("/", "-")
    runs = loggers.watch(
        places.store, name=name, job_type="rank", run_id=run_id, config=config, tags=["rank", type(ranker).__name__]
    )
    upload = loggers.artifacts == "files"
    shown = runs if loggers.artifacts != "none" else []
    status = "failed"

    def tell(figures: dict[str, float], complete: bool) -> None:
        nonlocal status
        status = "finished" if complete else "failed"
        for run in runs:
            run.log_summary(figures)
        _quietly(shown, lambda run: run.produce(_lists(places, figures, upload)))

    try:
        _quietly(shown, lambda run: _use(run, ranker, parts, source, upload))
        yield tell
    except KeyboardInterrupt:
        status = "interrupted"
        raise
    finally:
        loggers.finish(runs, status)


def _quietly(runs: Sequence[Any], act: Callable[[Any], object]) -> None:
    for run in runs:
        try:
            act(run)
        except Exception as error:
            log.warning(f"W&B is not told everything ({type(error).__name__}: {error}); the collection is not harmed")


def _use(run: Any, ranker: Ranker, parts: Components, source: str | None, upload: bool) -> None:
    from tuna.models.source import ModelConfig
    from tuna.tracking.lineage import data_file, starting_model

    nodes = [getattr(holder, "model", None) for holder in (parts, parts.teacher, parts.judge)]
    for node in [*nodes, getattr(ranker, "reward_model", None)]:
        if isinstance(node, ModelConfig):
            run.use(starting_model(node.resolve(), upload=upload))
    if source is not None and Path(source).is_file():
        run.use(data_file(source, sha256_file(source), {}, upload=upload))


def _lists(places: OutputPaths, figures: dict[str, float], upload: bool) -> Any:
    from tuna.tracking.lineage import data_file

    return data_file(str(places.output), sha256_file(places.output), figures, upload=upload)
