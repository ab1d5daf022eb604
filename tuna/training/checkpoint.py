"""Checkpoints that a SIGKILL cannot spoil, and the way back into a run. One format, sharded or not: torch's DCP.

A checkpoint is written as ``step-N.tmp`` and renamed to ``step-N`` when every process has written its part. Resuming
takes the newest complete one; data order, dropout and learning rate follow from the step alone, so nothing is saved but
weights, optimizer state and what early stopping has counted (the loss scale of 16-mixed starts anew).
"""

import re
import shutil
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.checkpoint.state_dict_loader import load as load_sharded
from torch.distributed.checkpoint.state_dict_saver import save as save_sharded

from tuna.errors import RunError
from tuna.modules.scoring import ScoringModule
from tuna.runs import read_json, write_json
from tuna.training import distributed
from tuna.training.nonfinite import check_scorer
from tuna.training.troubles import AGAIN

_NAME = re.compile(r"step-(\d+)")
# Frozen weights (LoRA's base) come from the starting model; only what is trained is saved.
_OPTIONS = StateDictOptions(ignore_frozen_params=True, flatten_optimizer_state_dict=True)


def complete(folder: Path) -> list[tuple[int, Path]]:
    """(step, path) of the complete checkpoints in ``folder``, oldest first."""
    found = [(int(m.group(1)), path) for path in folder.glob("step-*") if (m := _NAME.fullmatch(path.name))]
    return sorted((step, path) for step, path in found if (path / "state.json").exists())


def stopped(path: Path) -> bool:
    """Whether early stopping ended the run at this checkpoint."""
    return bool(read_json(path / "state.json").get("stopped"))


def clean(folder: Path) -> None:
    """Remove what a killed process left half-written."""
    for path in folder.glob("step-*.tmp"):
        shutil.rmtree(path)


class Checkpoints(Callback):
    """Saves every ``every`` optimizer steps and at the last one; ``start_step`` > 0 loads step-<start_step> first."""

    def __init__(self, folder: Path, *, every: int, keep: int, start_step: int, total_steps: int) -> None:
        self.folder, self.every, self.keep = folder, every, keep
        self.start_step, self.total_steps, self.saved = start_step, total_steps, start_step
        self.waits = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Load the checkpoint, and tell Lightning's loop which step it is at (loggers and validation go by it)."""
        if self.start_step == 0:
            return
        self._load(trainer, pl_module)
        loop = trainer.fit_loop.epoch_loop
        loop._batches_that_stepped = self.start_step
        loop.batch_progress.total.ready = self.start_step * trainer.accumulate_grad_batches
        loop.automatic_optimization.optim_progress.optimizer.step.total.completed = self.start_step

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save where it is time."""
        step = trainer.global_step
        due = step % self.every == 0 or step == self.total_steps
        if not due or step <= self.saved or (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        fetcher = trainer.fit_loop._data_fetcher
        if fetcher is not None and trainer.fit_loop.epoch_loop._should_check_val_fx(fetcher):
            self.waits = True  # early stopping counts the validation that comes now; the checkpoint has to know
        else:
            self.save(trainer, pl_module, step)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save what waited for this validation, and the end of a run that early stopping ends here."""
        if trainer.state.fn == "fit" and (self.waits or trainer.should_stop) and trainer.global_step > self.saved:
            self.save(trainer, pl_module, trainer.global_step)
        self.waits = False

    def save(self, trainer: pl.Trainer, pl_module: pl.LightningModule, step: int) -> None:
        """Write step-N, then drop all but the newest ``keep``."""
        if not trainer.optimizers[0].state:
            return  # every step so far was left out; asking torch for the empty state would make a step of it
        assert isinstance(pl_module, ScoringModule) and pl_module.scorer is not None
        check_scorer(pl_module.scorer, f"step {step}/{self.total_steps}:")
        temporary, final = self.folder / f"step-{step}.tmp", self.folder / f"step-{step}"
        state = self._state(trainer, pl_module)
        if distributed.rank() == 0:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()  # not its parents: a run folder that was removed is not made again
        distributed.barrier()
        try:
            save_sharded(state, checkpoint_id=temporary, no_dist=distributed.world_size() == 1)
        except CheckpointException as error:  # torch's is no Exception, and holds a stack trace for each process
            causes = "; ".join(sorted({str(cause) for cause, _ in error.failures.values()}))
            raise RunError(f"{temporary}: the checkpoint cannot be written ({causes}); {AGAIN}") from error
        distributed.barrier()
        if distributed.rank() == 0:
            write_json(
                temporary / "state.json",
                {"step": step, "stopped": trainer.should_stop, "early_stopping": _early_stopping(trainer)},
            )
            temporary.rename(final)
            for _, path in complete(self.folder)[: -self.keep]:
                shutil.rmtree(path)
        distributed.barrier()
        self.saved = step

    def _state(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        assert isinstance(pl_module, ScoringModule) and pl_module.scorer is not None
        optimizer = trainer.optimizers[0]
        return {
            "model": get_model_state_dict(pl_module.scorer, options=_OPTIONS),
            "optimizer": get_optimizer_state_dict(pl_module.scorer, optimizer, options=_OPTIONS),
        }

    def _load(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, ScoringModule) and pl_module.scorer is not None
        path = self.folder / f"step-{self.start_step}"
        state = self._state(trainer, pl_module)
        load_sharded(state, checkpoint_id=path, no_dist=distributed.world_size() == 1)
        options = StateDictOptions(ignore_frozen_params=True, flatten_optimizer_state_dict=True, strict=False)
        set_model_state_dict(pl_module.scorer, state["model"], options=options)
        set_optimizer_state_dict(pl_module.scorer, trainer.optimizers[0], state["optimizer"], options=_OPTIONS)
        saved = read_json(path / "state.json").get("early_stopping")
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if saved and isinstance(callback, EarlyStopping):
                best = saved["best_score"]  # null where nothing was validated before: JSON has no infinity
                callback.load_state_dict(saved | {"best_score": torch.tensor(torch.inf if best is None else best)})


def load_weights(scorer: torch.nn.Module, path: Path) -> None:
    """Load only the weights of the checkpoint at ``path``."""
    state = {"model": get_model_state_dict(scorer, options=_OPTIONS)}
    load_sharded(state, checkpoint_id=path, no_dist=distributed.world_size() == 1)
    options = StateDictOptions(ignore_frozen_params=True, strict=False)
    set_model_state_dict(scorer, state["model"], options=options)


def _early_stopping(trainer: pl.Trainer) -> dict[str, Any] | None:
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, EarlyStopping):
            return callback.state_dict() | {"best_score": float(callback.best_score)}
    return None
