"""The training itself: held-out figures before, training, held-out figures after, export."""

import logging
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import EarlyStopping
from omegaconf import DictConfig
from safetensors import SafetensorError

from tuna.errors import RunError
from tuna.modules.scoring import Plan, ScoringModule
from tuna.runs import RunFolder
from tuna.training import card, curves, distributed, quiet, summary
from tuna.training.checkpoint import Checkpoints, load_weights, stopped
from tuna.training.interrupts import interruptible
from tuna.training.nonfinite import NonFinite, check_scorer
from tuna.training.outcome import Outcome
from tuna.training.progress import Progress
from tuna.training.troubles import AGAIN

log = logging.getLogger("tuna")


def fit(cfg: DictConfig, parts: Any, target: RunFolder, start_step: int, loggers: list[Any]) -> dict[str, float]:
    """Train from ``start_step`` to the end, export, measure; returns the final metrics, which run.json holds too."""
    training, module, data = parts.training, parts.module, parts.data
    quiet.quiet()
    pl.seed_everything(cfg.seed, verbose=False)
    if training.threads:
        torch.set_num_threads(training.threads)
    plan = Plan(parts.total_steps, start_step, training.world_size, training.accumulate, cfg.seed)
    faults = NonFinite(training.nonfinite, data, target, start=start_step, total=plan.total_steps)
    module.connect(loss=parts.loss, build_scorer=lambda mesh: _scorer(parts, mesh), plan=plan, faults=faults)
    data.start_step = start_step
    progress = Progress(
        every=training.log_every,
        start_step=start_step,
        total_steps=plan.total_steps,
        baselines=data.report.baselines,
        skipped=faults.skipped if faults.skips else None,
    )
    callbacks: list[Any] = [progress]
    if training.early_stop_patience:
        callbacks.append(EarlyStopping("val/loss", patience=training.early_stop_patience, mode="min"))
    callbacks.append(
        Checkpoints(
            target.checkpoints,
            run=target.identity(),
            every=training.checkpoint_every,
            keep=training.keep_checkpoints,
            start_step=start_step,
            total_steps=plan.total_steps,
        )
    )
    trainer = training.lightning(folder=str(target.path), steps=plan.total_steps, loggers=loggers, callbacks=callbacks)
    before = distributed.agree(target.read().get("before") if distributed.rank() == 0 else None)
    if before is None and data.val_groups:
        before = held_out(trainer, module, data, loggers, 0)
        if distributed.rank() == 0:
            target.update(before=before)
    ended = start_step == plan.total_steps or (start_step > 0 and stopped(target.checkpoints / f"step-{start_step}"))
    if ended:
        _only_load(trainer, module, training, target, start_step)
    else:
        with interruptible(trainer):
            trainer.fit(module, datamodule=data)
    reached = max(start_step, trainer.global_step)  # early stopping ends before total_steps
    told = [] if progress.validated == reached else loggers
    after = held_out(trainer, module, data, told, reached) if data.val_groups else None
    return _finish(cfg, parts, target, before, after, progress.last)


def _scorer(parts: Any, mesh: Any) -> torch.nn.Module:
    """Load the starting weights, sharded over ``mesh`` where there is one."""
    from tuna.models.sharding import shard

    scorer: torch.nn.Module = parts.module.load_scorer(parts.model, parts.resolved)
    if mesh is not None and parts.training.strategy == "fsdp":
        shard(
            scorer,
            mesh["data_parallel"],
            precision=parts.training.precision,
            checkpoint_activations=parts.training.activation_checkpointing,
        )
    return scorer


def _only_load(trainer: pl.Trainer, module: ScoringModule, training: Any, target: RunFolder, step: int) -> None:
    """Everything was trained when the run was interrupted; only what comes after is missing."""
    if training.strategy == "fsdp" and distributed.world_size() > 1:
        from torch.distributed.device_mesh import init_device_mesh

        kind = "cuda" if training.on_gpu else "cpu"
        shape = (distributed.world_size(), 1)
        module._device_mesh = init_device_mesh(kind, shape, mesh_dim_names=("data_parallel", "tensor_parallel"))
    module.configure_model()
    assert module.scorer is not None
    if training.on_gpu:
        module.scorer.to("cuda")
    load_weights(module.scorer, target.checkpoints / f"step-{step}")


def held_out(trainer: pl.Trainer, module: ScoringModule, data: Any, loggers: list[Any], step: int) -> dict[str, Any]:
    """Figures on the held-out part, logged at ``step``; ``..._interval`` is a 95% bootstrap interval."""
    with interruptible(trainer):
        trainer.validate(module, datamodule=data, verbose=False)
    shown = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
    for logger in loggers:
        logger.log_metrics(shown, step=step)
    figures: dict[str, Any] = {name.removeprefix("val/"): value for name, value in shown.items()}
    for name, interval in module.intervals().items():
        figures[f"{name}_interval"] = [interval.low, interval.high]
    return figures


def _finish(
    cfg: DictConfig, parts: Any, target: RunFolder, before: Any, after: Any, last: dict[str, float]
) -> dict[str, float]:
    """Export on all processes; measure and sum up on process 0."""
    from tuna.models.export import export

    check_scorer(parts.module.scorer, f"{target.path}: no model is written,")
    first = distributed.rank() == 0
    outcome = Outcome(before=before, after=after, baselines=parts.data.report.baselines, last=last)
    try:
        export(
            parts.module.scorer,
            target.model,
            resolved=parts.resolved,
            tokenizer=parts.module.export_tokenizer(parts.model),
            dtype=parts.model.export_dtype,
            card=card.model_card(cfg, parts, target, outcome) if first else None,
            ends=sorted(parts.data.ends - {parts.tokenizer.eos_token_id}),
        )
    except SafetensorError as error:
        raise RunError(f"{target.model}: the model cannot be written ({error}); {AGAIN}") from error
    metrics = outcome.metrics()
    if first:
        if summary.wants_tasks(cfg, parts):
            outcome = outcome.with_tasks(*summary.measure_tasks(parts, target))
            card.rewrite_card(target, card.model_card(cfg, parts, target, outcome))
            metrics = outcome.metrics()
        target.update(after=after, baselines=outcome.baselines, metrics=metrics)
        figure = curves.draw(target)
        for line in summary.last_lines(cfg, parts, target, outcome, figure):
            log.info(line)
    return distributed.agree(metrics)
