"""The training itself: held-out figures before, training, held-out figures after, export; and the records of it."""

import logging
import shutil
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import EarlyStopping
from safetensors import SafetensorError

from tuna import runs
from tuna.errors import RunError
from tuna.files import write_text
from tuna.models.checkpointing import checkpoint_layers
from tuna.models.export import export
from tuna.models.loading import Sharding
from tuna.modules.scoring import Plan
from tuna.runs import RunFolder
from tuna.tracking.lightning_run import LightningRun
from tuna.tracking.loggers import Logger, MetricsFile, tags
from tuna.tracking.wandb_run import WandbRun, data_file, made_by, made_model, starting_model
from tuna.training import checkpoint, distributed, hub, results, shims
from tuna.training.checkpoint_files import STATE, newest_sound
from tuna.training.log import Progress, first_lines, last_lines, open_log
from tuna.training.machine import give_back
from tuna.training.nonfinite import NonFinite, check_scorer
from tuna.training.reference import attach
from tuna.training.run import Components, end
from tuna.training.troubles import AGAIN

log = logging.getLogger("tuna")


def fit(parts: Components, target: RunFolder) -> dict[str, float]:
    """Train in ``target`` to the end, export, measure; returns the final metrics, which run.json holds too."""
    with _recorded(parts, target) as record:
        training, module, data, start = parts.training, parts.module, parts.data, record.start_step
        shims.quiet()
        pl.seed_everything(parts.cfg.seed, verbose=False)
        if not training.on_gpu:
            give_back()
        if training.threads:
            torch.set_num_threads(training.threads)
        attach(parts)
        total = parts.total_steps
        plan = Plan(total, start, training.world_size, data.accumulate, parts.cfg.seed)
        faults = NonFinite(training.nonfinite, data, target, start=start, total=total)
        module.connect(
            loss=parts.loss, build_scorer=lambda mesh: _scorer(parts, mesh), plan=plan, faults=faults,
            optimizer=parts.optimizer,
        )  # fmt: skip
        data.start_step = start
        progress = Progress(
            every=training.log_every, start_step=start, total_steps=total, loggers=record.loggers,
            baselines=data.report.baselines, skipped=faults.skipped if faults.skips else None,
        )  # fmt: skip
        callbacks: list[pl.Callback] = [progress]
        if training.early_stop_patience:
            callbacks.append(EarlyStopping("val/loss", patience=training.early_stop_patience, mode="min"))
        callbacks.append(checkpoint.Checkpoints(target, training, start, total))
        trainer = training.lightning(target, total, data.accumulate, callbacks)
        before = distributed.agree(target.read().get("before") if distributed.rank() == 0 else None)
        if before is None and data.val_groups:
            before = held_out(trainer, parts, record.loggers, 0)
            if distributed.rank() == 0:
                target.update(before=before)
        newest = target.checkpoints / f"step-{start}"
        if start == total or (start > 0 and runs.read_json(newest / STATE).get("stopped")):
            # Everything was trained when the run was interrupted; only what comes after is missing.
            if training.strategy == "fsdp" and distributed.world_size() > 1:
                module._device_mesh = shims.mesh_of(training.on_gpu, training.mesh_sizes)
            module.configure_model()
            checkpoint.load(newest, module.scorer.to("cuda") if training.on_gpu else module.scorer)
        else:
            with shims.interruptible(trainer):
                trainer.fit(module, datamodule=data)
        reached = max(start, trainer.global_step)  # early stopping ends before total_steps
        loggers = [] if progress.validated == reached else record.loggers
        after = held_out(trainer, parts, loggers, reached) if data.val_groups else None
        outcome = results.Outcome(before, after, data.report.baselines, progress.last)
        record.metrics = _finish(parts, target, outcome)
    distributed.barrier()
    if distributed.rank() == 0 and (lines := hub.push(parts.cfg, target)):  # the others need not wait for it
        with open_log(target.path / "log.txt"):
            for line in lines:
                log.info(line)
    return record.metrics


@dataclass
class _Record:
    """Where a run starts, who takes its figures, and the figures that it ends with."""

    start_step: int
    loggers: list[Logger] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)


@contextmanager
def _recorded(parts: Components, target: RunFolder) -> Iterator[_Record]:
    """Within it, log.txt, run.json, metrics.csv and W&B are kept: by process 0, from the start to what became of it."""
    if distributed.rank() > 0:
        yield _Record(distributed.on_first(lambda: 0))
        return
    target.checkpoints.mkdir(parents=True, exist_ok=True)
    with open_log(target.path / "log.txt"), _finished_is_finished(target):
        _begin(parts, target)
        status, wandb = "failed", None
        others: list[LightningRun] = []
        try:
            record = _Record(distributed.on_first(lambda: newest_sound(target, parts.total_steps)))
            for line in first_lines(parts, target, record.start_step):
                log.info(line)
            if parts.loggers.csv:
                record.loggers.append(MetricsFile(target.path / "metrics.csv", record.start_step))
            wandb = _start_wandb(parts, target)
            others = parts.loggers.start_others(
                target.path, name=target.name, start_step=record.start_step, config=parts.config, tags=tags(parts.cfg)
            )
            record.loggers += [wandb, *others]
            yield record
            status = "finished"
            end(target, status)
            if parts.training.keep_checkpoints == 0:
                shutil.rmtree(target.checkpoints, ignore_errors=True)
            wandb.log_summary(record.metrics)
            wandb.log_table("samples", lambda: results.samples_table(parts, target))
            about = {key: value for key, value in record.metrics.items() if key.startswith("val/")}
            about |= {"stage": parts.cfg.stage.name}
            wandb.produce(lambda: made_model(target.model, target.name, about))
        except KeyboardInterrupt:
            status = "interrupted" if status == "failed" else status
            raise
        except Exception:
            log.debug(traceback.format_exc())
            raise
        finally:
            if status != "finished":
                with suppress(OSError):  # what stopped the run is the first to be told
                    end(target, status)
            for each in others:
                each.finish(status)
            if wandb:
                wandb.finish(status)


@contextmanager
def _finished_is_finished(target: RunFolder) -> Iterator[None]:
    """Ctrl-C while W&B is sent the rest takes nothing from a run that is finished."""
    try:
        yield
    except KeyboardInterrupt:
        if target.read().get("status") == "finished":
            log.info(f"{target.path} is finished, its model is {target.model}; only W&B was not sent all of it")
        raise


def _begin(parts: Components, target: RunFolder) -> None:
    """Write run.json: what this run is, where it comes from, what it is made with."""
    written, model, data = target.read(), parts.resolved, parts.data
    target.update(
        schema_version=written.get("schema_version", runs.SCHEMA_VERSION),
        name=target.name,
        status="running",
        stage=str(parts.cfg.stage.name),
        started=written.get("started", datetime.now().isoformat(timespec="microseconds")),
        resumed=written.get("resumed", 0) + int(target.resumed),
        config=parts.config,
        parents={
            "model": model.source, "model_fingerprint": model.fingerprint, "model_run": made_by(model.folder),
            "data": data.report.to_dict(), "data_sha256": data.sha256,
        },
        versions=runs.versions(),
        frozen_dtype=parts.model.frozen_dtype,
        memory=parts.memory.to_dict() if parts.memory else None,
    )  # fmt: skip


def _start_wandb(parts: Components, target: RunFolder) -> WandbRun:
    """Open the W&B run, and say what the run is made from."""
    stage, run_id = str(parts.cfg.stage.name), target.run_id()
    wandb = parts.loggers.start_wandb(
        target.path, name=target.name, run_id=run_id, job_type=stage, config=parts.config, tags=tags(parts.cfg)
    )
    wandb.use(lambda: starting_model(parts.resolved))
    for source in parts.data.report.sources:
        about = {key: source.get(key) for key in ("format", "rows", "rank_by")}
        wandb.use(partial(data_file, str(source["path"]), source["sha256"], about))
    return wandb


def _scorer(parts: Components, mesh: Any) -> torch.nn.Module:
    """Load the starting weights, sharded over ``mesh`` where there is one."""
    training = parts.training
    if mesh is None or training.strategy != "fsdp":
        scorer: Any = parts.module.load_scorer(parts.model)
        checkpoint_layers(scorer.model, training.activation_checkpointing)
        return scorer  # type: ignore[no-any-return]
    sharding = Sharding(training.part_of(mesh), training.precision, training.activation_checkpointing)
    return parts.module.load_scorer(parts.model, sharding)


def held_out(trainer: pl.Trainer, parts: Components, loggers: list[Logger], step: int) -> dict[str, Any]:
    """Figures on the held-out part, logged at ``step``; ``..._interval`` is a 95% bootstrap interval."""
    if distributed.rank() == 0:
        log.info(f"held-out: {len(parts.data.val_groups)} lists are measured {'after' if step else 'before'} training")
    with shims.interruptible(trainer):
        trainer.validate(parts.module, datamodule=parts.data, verbose=False)
    shown = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
    for logger in loggers:
        logger.log_metrics(shown, step)
    figures: dict[str, Any] = {name.removeprefix("val/"): value for name, value in shown.items()}
    return figures | {f"{name}_interval": [each.low, each.high] for name, each in parts.module.intervals().items()}


def _finish(parts: Components, target: RunFolder, outcome: results.Outcome) -> dict[str, float]:
    """Export on all processes; measure and sum up on process 0."""
    module, cfg = parts.module, parts.cfg
    check_scorer(module.scorer, f"{target.path}: no model is written,")
    try:
        export(
            module.scorer, target.model, resolved=parts.resolved, tokenizer=module.export_tokenizer(parts.model),
            dtype=parts.model.export_dtype, ends=sorted(parts.data.ends - {parts.tokenizer.eos_token_id}),
        )  # fmt: skip
    except SafetensorError as error:
        raise RunError(f"{target.model}: the model cannot be written ({error}); {AGAIN}") from error
    if distributed.rank() == 0:
        if module.answers and results.wants_tasks(cfg):
            outcome = replace(outcome, tasks=results.measure_tasks(parts, target))
        write_text(target.model / "README.md", results.model_card(parts, target, outcome))
        target.update(after=outcome.after, baselines=outcome.baselines, metrics=outcome.metrics())
        figure = results.draw_curves(target)
        for line in last_lines(parts, target, outcome, figure):
            log.info(line)
    return distributed.agree(outcome.metrics())
