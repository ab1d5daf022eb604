"""One training run, from a composed config to a model folder: check everything, choose its folder, train in it."""

import os
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from tuna import runs
from tuna.config.schema import build_all
from tuna.data.templates import meant_by
from tuna.datamodules.base import RecordDataModule
from tuna.errors import ConfigError, RunError
from tuna.losses.base import Loss
from tuna.models.folder import stored_parameters
from tuna.models.source import ModelConfig, Resolved
from tuna.models.weights import check_weights
from tuna.modules.optimizers import Optimizer
from tuna.modules.scoring import ScoringModule
from tuna.runs import RunFolder
from tuna.tracking.loggers import Loggers
from tuna.training import distributed, hub
from tuna.training.frozen_dtype import settle_frozen
from tuna.training.launch import launch
from tuna.training.memory import Forecast, check_memory
from tuna.training.reference import check_reference
from tuna.training.trainer import TrainerConfig
from tuna.training.troubles import explained

NODES = ("model", "trainer", "loss", "module", "optimizer", "datamodule", "logger")


@dataclass(frozen=True, slots=True)
class Components:
    """What the config names, built and checked, before any weights load."""

    cfg: DictConfig
    config: dict[str, Any]  # the same as plain data
    model: ModelConfig
    resolved: Resolved
    tokenizer: Any
    data: RecordDataModule
    module: ScoringModule
    loss: Loss
    optimizer: Optimizer
    training: TrainerConfig
    loggers: Loggers
    template: str  # what "auto" stands for
    num_parameters: int
    num_trainable: int  # about, with LoRA
    total_steps: int
    memory: Forecast | None = None  # of a process, where it was looked at


def run(cfg: DictConfig) -> dict[str, float]:
    """Train as ``cfg`` says and return the final metrics; what can be wrong is found before weights load."""
    return train(cfg)[1]


def train(cfg: DictConfig) -> tuple[RunFolder, dict[str, float]]:
    """The same; gives the run's folder too."""
    built = build_all(cfg, *NODES)
    training = built["trainer"]
    check_processes(training)
    starts_others = training.strategy == "fsdp" and not distributed.launched()
    if not starts_others:
        distributed.join(training.on_gpu, training.timeout_minutes)
    parts = prepare(cfg, built)
    target = distributed.on_first(lambda: runs.choose(parts.config, parts.data.sha256, parts.resolved.fingerprint))
    if target.finished:
        return target, _finished(cfg, target)
    if cfg.dry_run:
        return target, _dry_run(parts, target)
    if starts_others:
        return target, _launch(parts, target)
    with explained(target.path, training.timeout_minutes), ExitStack() as stack:
        if distributed.on_first(lambda: _lock(target, stack)):
            return target, _finished(cfg, target, held=True)
        from tuna.training.fit import fit

        return target, fit(parts, target)


def check_processes(training: TrainerConfig) -> None:
    """Refuse (ConfigError) a number of processes or a precision that the trainer's settings do not go with."""
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


def prepare(cfg: DictConfig, built: dict[str, Any]) -> Components:
    """Find the model and read the data for what was built; all that can be wrong without weights is reported here."""
    model, training, data, module = (built[key] for key in ("model", "trainer", "datamodule", "module"))
    hub.check(cfg)
    runs.check_writable(Path(cfg.runs_dir))
    if cfg.name and not cfg.resume:
        runs.check_free(Path(cfg.runs_dir) / cfg.name)
    resolved = model.resolve()
    settle_frozen(model, training)
    module.check_start(resolved, built["loss"])
    built["optimizer"].check(sharded=training.world_size > 1)
    if cfg.evaluate is True and not module.answers:
        raise ConfigError(f"evaluate: stage={cfg.stage.name} tunes a reward model, which writes no answers; use auto")
    tokenizer = model.tokenizer()
    check_reference(built["loss"], model, tokenizer)
    if not resolved.on_hub:  # a hub id's weights come only when the data is right
        check_weights(model, reward=not module.answers)
    read = partial(
        data.prepare, tokenizer, max_positions=resolved.max_positions, world_size=training.world_size,
        rank=distributed.rank(), accumulate=training.accumulate, micro_tokens=training.micro_budget,
        padded=model.scorer == "plain", epochs=training.max_epochs, seed=cfg.seed, on_gpu=training.on_gpu,
    )  # fmt: skip
    distributed.on_first(read)
    if distributed.rank() > 0:  # from the token cache
        read()
    distributed.barrier()
    check_grades(built["loss"], data)
    parameters = stored_parameters(resolved.weights_folder)
    trainable = parameters if model.lora is None else max(1, parameters // 20)
    keep = training.kept
    runs.check_space(Path(cfg.runs_dir), parameters=parameters, trainable=trainable, keep=keep)
    steps = min(data.total_steps, training.max_steps or data.total_steps)
    if steps == 0:
        raise ConfigError("datamodule: nothing is left to train on; see datamodule.held_out, first and last")
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    parts = Components(
        cfg=cfg, config=config, model=model, resolved=resolved, tokenizer=tokenizer, data=data, module=module,
        loss=built["loss"], optimizer=built["optimizer"], training=training, loggers=built["logger"],
        template=meant_by(data.template, tokenizer),
        num_parameters=parameters, num_trainable=trainable, total_steps=steps,
    )  # fmt: skip
    return replace(parts, memory=distributed.on_first(lambda: check_memory(parts)))


def check_grades(loss: Any, data: RecordDataModule) -> None:
    """Where a loss goes by the size of a score and all scores are but ranks, say so; refuse it (ConfigError) where
    scores were asked for.
    """
    distinct = [sorted({s for s in group.scores if s == s}) for group in data.train_groups]
    by_size = getattr(loss, "needs_grades", False) and loss.labels != "ranks"
    if not by_size or any(high - low != 1 for scores in distinct for low, high in pairwise(scores)):
        return
    name = type(loss).__name__
    if loss.labels == "scores":
        raise ConfigError(
            f"loss.labels: {name} was asked to go by the size of scores, but those of all lists are ranks, each 1 "
            "above the next; next: loss.labels=ranks, or datamodule.rank_by=judge_score where each answer has one"
        )
    data.report.notes.append(f"{name} goes by grades; the scores are ranks here, which it takes as evenly spaced")


def _lock(target: RunFolder, stack: ExitStack) -> bool:
    """Hold the run's lock; another process may have begun it since its name was chosen, or ended it: then True."""
    before = target.read().get("status")
    stack.enter_context(target.locked())
    if not target.resumed:
        runs.check_free(target.path)
    return before != "finished" and target.read().get("status") == "finished"


def _finished(cfg: DictConfig, target: RunFolder, *, held: bool = False) -> dict[str, float]:
    """With resume=auto a command can be given again and again: what is done is not done twice. A model that was to be
    sent to the hub and was not is sent now. held: whether the run's lock is.
    """
    if not target.model.exists():
        raise RunError(
            f"{target.path} is finished, but its model is not at {target.model} any more; next: mv {target.path} "
            f"{target.path}-old, then the same command"
        )
    if distributed.rank() == 0:
        print(f"{target.path} is finished already; its model is {target.model}")
        if not cfg.dry_run and runs.unpushed(target.read(), cfg.get("push_to_hub")):
            with nullcontext() if held else target.locked():
                print(*hub.push(cfg, target), sep="\n", flush=True)
    return dict(target.read().get("metrics", {}))


def _dry_run(parts: Components, target: RunFolder) -> dict[str, float]:
    from tuna.training import dry_run

    if distributed.rank() == 0:
        for line in dry_run.lines(parts, target):
            print(line, flush=True)
    return {}


def _launch(parts: Components, target: RunFolder) -> dict[str, float]:
    """All is checked here, once and readably; train in the trainer's ``local_devices`` processes."""
    sent = OmegaConf.create(parts.config)
    sent.name, sent.resume = (parts.cfg.name, str(target.path)) if target.resumed else (target.name, None)
    try:
        launch(sent, parts.training.local_devices)
    except BaseException as stop:
        if target.read().get("status") == "running":  # who should have said so was ended
            end(target, "interrupted" if isinstance(stop, KeyboardInterrupt) else "failed")
        raise
    return dict(target.read().get("metrics", {}))


def end(target: RunFolder, status: str) -> None:
    """Write to run.json what became of the run: finished, failed or interrupted."""
    target.update(status=status, ended=datetime.now().isoformat(timespec="seconds"))
