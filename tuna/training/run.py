"""One training run, from a composed config to a model folder: check everything, train, export, measure, sum up."""

import errno
import logging
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf

from tuna.errors import ConfigError, RunError, TunaError
from tuna.training import distributed, summary
from tuna.training import folder as folders
from tuna.training.build import build_all
from tuna.training.checkpoint import AGAIN
from tuna.training.folder import RunFolder

T = TypeVar("T")
log = logging.getLogger("tuna")
NODES = ("model", "trainer", "loss", "module", "datamodule", "logger")


@dataclass(frozen=True, slots=True)
class Parts:
    """What the config names, built and checked, before any weights load."""

    model: Any  # tuna.models.source.Model
    resolved: Any  # tuna.models.source.Resolved
    tokenizer: Any
    data: Any  # a tuna datamodule, prepared
    module: Any  # tuna.modules.scoring.ScoringModule
    loss: Any
    training: Any  # tuna.training.trainer.Training
    loggers: Any  # tuna.training.loggers.Loggers
    config: dict[str, Any]
    template: str
    num_parameters: int
    total_steps: int


def run(cfg: DictConfig) -> dict[str, float]:
    """Train as ``cfg`` says and return the final metrics.

    Raises:
        TunaError: anything that the user can mend, before weights load wherever it can be known by then.
    """
    built = build_all(cfg, *NODES)
    training = built["trainer"]
    _check_processes(training)
    if training.strategy == "fsdp" and not distributed.launched():
        return _launch(cfg, built)
    distributed.join(training.on_gpu, training.timeout_minutes)
    parts = prepare(cfg, built)
    target = _on_first(lambda: _choose(cfg, parts))
    if target.finished:
        return _finished(target)
    with ExitStack() as stack:
        _on_first(lambda: _lock(target, stack))
        try:
            return _train(cfg, parts, target)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG):
                raise RunError(f"{target.path}: {error.strerror}; {AGAIN}") from error
            raise


def _lock(target: RunFolder, stack: ExitStack) -> None:
    """Hold the run's lock; another process may have begun it since its name was chosen."""
    stack.enter_context(target.locked())
    if not target.resumed:
        folders.check_free(target.path)


def _finished(target: RunFolder) -> dict[str, float]:
    """With resume=auto a command can be given again and again: what is done is not done twice."""
    if distributed.rank() == 0:
        print(f"{target.path} is finished already; its model is {target.model}")
    return dict(target.read().get("metrics", {}))


def prepare(cfg: DictConfig, built: dict[str, Any]) -> Parts:
    """Find the model and read the data for what was built; all that can be wrong without weights is said here."""
    model, training, data = built["model"], built["trainer"], built["datamodule"]
    folders.check_writable(Path(cfg.runs_dir))
    if cfg.name and not cfg.resume:
        folders.check_free(Path(cfg.runs_dir) / cfg.name)
    resolved = model.resolve()
    tokenizer = model.tokenizer()
    if not resolved.on_hub:  # a hub id's weights come only when the data is right
        _check_space(cfg, model, training, _count(resolved.weights_folder))
    _on_first(
        lambda: data.prepare(
            tokenizer,
            max_positions=resolved.max_positions,
            world_size=training.world_size,
            rank=distributed.rank(),
            accumulate=training.accumulate,
            epochs=training.max_epochs,
            seed=cfg.seed,
        ),
        everywhere=True,
    )
    config = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(config, dict)
    steps = min(data.total_steps, training.max_steps or data.total_steps)
    if steps == 0:
        raise ConfigError("datamodule: nothing is left to train on; see datamodule.held_out, first and last")
    return Parts(
        model=model,
        resolved=resolved,
        tokenizer=tokenizer,
        data=data,
        module=built["module"],
        loss=built["loss"],
        training=training,
        loggers=built["logger"],
        config={str(key): value for key, value in config.items()},
        template=_template(data.settings.template, tokenizer),
        num_parameters=_count(resolved.weights_folder),
        total_steps=steps,
    )


def _check_processes(training: Any) -> None:
    if distributed.launched():
        started = int(os.environ.get("WORLD_SIZE") or os.environ.get("SLURM_NTASKS", "1"))
        if started > 1 and training.strategy != "fsdp":
            raise ConfigError(
                f"trainer: {started} processes were started, but trainer.strategy is single; use trainer=fsdp"
            )
        if started != training.world_size:
            raise ConfigError(
                f"trainer.devices x trainer.num_nodes = {training.world_size}, but {started} processes were started"
            )
    elif training.num_nodes > 1:
        raise ConfigError(
            f"trainer.num_nodes: {training.num_nodes} machines need a launcher that reaches them: srun, or on each "
            f"torchrun --nnodes {training.num_nodes} --nproc-per-node {training.local_devices} --rdzv-backend c10d "
            "--rdzv-endpoint HOST:29500 train.py ... (docs/training.md)"
        )
    if training.precision == "16-mixed" and not training.on_gpu:
        raise ConfigError("trainer.precision: 16-mixed needs a GPU; expected 32-true or bf16-mixed on the CPU")


def _on_first(make: Callable[[], T], *, everywhere: bool = False) -> T:
    """Call ``make`` on process 0 and give its value to all; with ``everywhere`` the others call it too, afterwards.

    A fault on process 0 is raised on all, so that none waits for another for ever.
    """
    value: T | None = None
    fault: Exception | None = None
    if distributed.rank() == 0:
        try:
            value = make()
        except TunaError as error:
            fault = error
    fault = distributed.agree(fault)
    if fault is not None:
        raise fault
    if everywhere:
        if distributed.rank() != 0:
            value = make()
        distributed.barrier()
        return value  # type: ignore[return-value]
    return distributed.agree(value)  # type: ignore[return-value]


def _choose(cfg: DictConfig, parts: Parts) -> RunFolder:
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
        _check_space(cfg, parts.model, parts.training, parts.num_parameters)
    return target


def _check_space(cfg: DictConfig, model: Any, training: Any, parameters: int) -> None:
    trainable = parameters if model.lora is None else max(1, parameters // 20)
    folders.check_space(Path(cfg.runs_dir), parameters=parameters, trainable=trainable, keep=training.keep_checkpoints)


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
    distributed.launch(sent, parts.training.local_devices)
    return dict(target.read().get("metrics", {}))


def _train(cfg: DictConfig, parts: Parts, target: RunFolder) -> dict[str, float]:
    from tuna.training import checkpoint, fit

    if distributed.rank() == 0:
        target.checkpoints.mkdir(parents=True, exist_ok=True)
        checkpoint.clean(target.checkpoints)
        _open_log(target.path / "log.txt")
    saved = distributed.agree(checkpoint.complete(target.checkpoints)[-1:] if distributed.rank() == 0 else [])
    start_step = saved[0][0] if saved else 0
    if distributed.rank() == 0:
        for line in summary.first_lines(cfg, parts, target, start_step):
            log.info(line)
        _begin(cfg, parts, target)
    status = "failed"
    loggers: list[Any] = []
    try:
        loggers = parts.loggers.start(
            target.path,
            name=target.name,
            stage=str(cfg.stage.name),
            start_step=start_step,
            run_id=target.run_id(),
            config=parts.config,
        )
        metrics = fit.fit(cfg, parts, target, start_step, loggers)
        status = "finished"
    except KeyboardInterrupt:
        status = "interrupted"
        raise
    except Exception:
        log.debug(traceback.format_exc())
        raise
    finally:
        if distributed.rank() == 0:
            target.update(status=status, ended=datetime.now().isoformat(timespec="seconds"))
        parts.loggers.finish(loggers, status)
        _close_log()
    distributed.barrier()
    return metrics


def _begin(cfg: DictConfig, parts: Parts, target: RunFolder) -> None:
    """Write run.json: what this run is, where it comes from, what it is made with."""
    written = target.read()
    target.update(
        schema_version=folders.SCHEMA_VERSION,
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


def _template(name: str, tokenizer: Any) -> str:
    """The template that "auto" stands for."""
    if name != "auto":
        return name
    return "chat" if getattr(tokenizer, "chat_template", None) else "alpaca"


def _count(folder: Path) -> int:
    """Parameters of the model in ``folder``, from the headers of its weight files."""
    from math import prod

    from tuna.models.folder import tensor_shapes

    return sum(prod(shape) for shape in tensor_shapes(folder).values())


def _parent_run(folder: Path) -> str | None:
    """The run that made the starting model, where one did."""
    written = folders.read_json(folder.parent / "run.json")
    return str(written.get("name", folder.parent.name)) if written else None


def _open_log(path: Path) -> None:
    """The run's messages go to the screen and to log.txt."""
    _close_log()
    log.setLevel(logging.DEBUG)
    log.propagate = False
    screen = logging.StreamHandler(sys.stdout)
    screen.setLevel(logging.INFO)
    screen.setFormatter(logging.Formatter("%(message)s"))
    file = logging.FileHandler(path, encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log.addHandler(screen)
    log.addHandler(file)


def _close_log() -> None:
    for handler in list(log.handlers):
        log.removeHandler(handler)
        if isinstance(handler, logging.FileHandler):
            handler.close()
