"""One training run, from a composed config to a model folder: check everything, train, export, measure, sum up."""

import logging
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from tuna import runs as folders
from tuna.config.build import build_all
from tuna.runs import RunFolder
from tuna.tracking import labels, recording
from tuna.training import distributed, runlog, summary
from tuna.training.parts import Components, check_processes, check_space, prepare
from tuna.training.troubles import told

log = logging.getLogger("tuna")
NODES = ("model", "trainer", "loss", "module", "datamodule", "logger")


def run(cfg: DictConfig) -> dict[str, float]:
    """Train as ``cfg`` says and return the final metrics.

    Raises:
        TunaError: anything that the user can mend, before weights load wherever it can be known by then.
    """
    built = build_all(cfg, *NODES)
    training = built["trainer"]
    check_processes(training)
    if training.strategy == "fsdp" and not distributed.launched():
        return _launch(cfg, built)
    distributed.join(training.on_gpu, training.timeout_minutes)
    parts = prepare(cfg, built)
    target = distributed.on_first(lambda: _choose(cfg, parts))
    if target.finished:
        return _finished(target)
    with told(target.path, training.timeout_minutes), ExitStack() as stack:
        if distributed.on_first(lambda: _lock(target, stack)):
            return _finished(target)
        return _train(cfg, parts, target)


def _lock(target: RunFolder, stack: ExitStack) -> bool:
    """Hold the run's lock; another process may have begun it since its name was chosen, or ended it: then True."""
    before = target.read().get("status")
    stack.enter_context(target.locked())
    if not target.resumed:
        folders.check_free(target.path)
    return before != "finished" and target.read().get("status") == "finished"


def _finished(target: RunFolder) -> dict[str, float]:
    """With resume=auto a command can be given again and again: what is done is not done twice."""
    if distributed.rank() == 0:
        print(f"{target.path} is finished already; its model is {target.model}")
    return dict(target.read().get("metrics", {}))


def _choose(cfg: DictConfig, parts: Components) -> RunFolder:
    target = folders.choose(
        runs_dir=Path(cfg.runs_dir),
        name=cfg.name,
        stage=str(cfg.stage.name),
        resume=cfg.resume,
        config=parts.config,
        data=parts.data.sha256,
        model=parts.resolved.fingerprint,
    )
    if parts.resolved.on_hub and not target.finished:
        check_space(cfg, parts.model, parts.training, parts.num_parameters)
    return target


def _launch(cfg: DictConfig, built: dict[str, Any]) -> dict[str, float]:
    """Check everything here, once and readably, then train in the trainer's ``local_devices`` processes."""
    parts = prepare(cfg, built)
    target = _choose(cfg, parts)
    if target.finished:
        return _finished(target)
    sent = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
    if target.resumed:
        sent.resume = str(target.path)
    else:
        sent.name, sent.resume = target.name, None
    assert isinstance(sent, DictConfig)
    try:
        distributed.launch(sent, parts.training.local_devices)
    except BaseException as stop:
        if target.read().get("status") == "running":  # who should have said so was ended
            target.update(status="interrupted" if isinstance(stop, KeyboardInterrupt) else "failed", ended=_now())
        raise
    return dict(target.read().get("metrics", {}))


def _train(cfg: DictConfig, parts: Components, target: RunFolder) -> dict[str, float]:
    from tuna.training import checkpoint, fit

    if distributed.rank() == 0:
        target.checkpoints.mkdir(parents=True, exist_ok=True)
        runlog.open_log(target.path / "log.txt")
        _begin(cfg, parts, target)
    status = "failed"
    loggers: list[Any] = []
    try:
        start_step = distributed.on_first(lambda: checkpoint.newest_sound(target, parts.total_steps))
        if distributed.rank() == 0:
            for line in summary.first_lines(cfg, parts, target, start_step):
                log.info(line)
        loggers = parts.loggers.start(
            target.path,
            name=target.name,
            stage=str(cfg.stage.name),
            start_step=start_step,
            run_id=target.run_id(),
            config=parts.config,
            tags=labels.tags(cfg),
        )
        recording.begin(parts, loggers)
        metrics = fit.fit(cfg, parts, target, start_step, loggers)
        status = "finished"
        if distributed.rank() == 0:
            target.update(status=status, ended=_now())
        with _closing(target, status):
            recording.end(parts, target, metrics, loggers)
    except KeyboardInterrupt:
        status = status if status == "finished" else "interrupted"
        raise
    except Exception:
        log.debug(traceback.format_exc())
        raise
    finally:
        if distributed.rank() == 0 and status != "finished":
            with suppress(OSError):  # what stopped the run is the first to be told
                target.update(status=status, ended=_now())
        with _closing(target, status):
            parts.loggers.finish(loggers, status)
        runlog.close_log()
    distributed.barrier()
    return metrics


@contextmanager
def _closing(target: RunFolder, status: str) -> Iterator[None]:
    """While W&B is told the rest: Ctrl-C takes nothing from a run that is finished."""
    try:
        yield
    except KeyboardInterrupt:
        if status == "finished":
            log.info(f"{target.path} is finished, its model is {target.model}; only W&B was not told all of it")
        raise


def _now() -> str:
    return datetime.now().isoformat(timespec="seconds")


def _begin(cfg: DictConfig, parts: Components, target: RunFolder) -> None:
    """Write run.json: what this run is, where it comes from, what it is made with."""
    written = target.read()
    target.update(
        schema_version=written.get("schema_version", folders.SCHEMA_VERSION),
        name=target.name,
        status="running",
        stage=str(cfg.stage.name),
        started=written.get("started", datetime.now().isoformat(timespec="microseconds")),
        resumed=written.get("resumed", 0) + int(target.resumed),
        config=parts.config,
        parents={
            "model": parts.resolved.source,
            "model_fingerprint": parts.resolved.fingerprint,
            "model_run": _parent_run(parts.resolved.folder),
            "data": parts.data.report.to_dict(),
            "data_sha256": parts.data.sha256,
        },
        versions=folders.versions(),
    )


def _parent_run(folder: Path) -> str | None:
    """The run that made the starting model, where one did."""
    written = folders.read_run(folder.parent)
    return str(written.get("name", folder.parent.name)) if written else None
