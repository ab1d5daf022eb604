"""Checkpoints that a SIGKILL cannot spoil, and the way back into a run. One format, sharded or not: torch's DCP.

Data order, dropout and learning rate follow from the step alone, so nothing is saved but weights, optimizer state and
what early stopping has counted (the loss scale of 16-mixed starts anew).
"""

import pickle
import shutil
from collections import ChainMap
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn
from torch.distributed.checkpoint import state_dict as dicts
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict_loader import load as load_sharded
from torch.distributed.checkpoint.state_dict_saver import save as save_sharded

from tuna.errors import RunError
from tuna.files import FULL
from tuna.runs import RunFolder, read_json, steps_in, write_json
from tuna.training import distributed, shims
from tuna.training.checkpoint_files import METADATA, STATE, Planner, Reader, hashes, sealed
from tuna.training.nonfinite import check_scorer
from tuna.training.trainer import TrainerConfig
from tuna.training.troubles import AGAIN

# Frozen weights (LoRA's base) come from the starting model; only what is trained is saved.
_OPTIONS = dicts.StateDictOptions(ignore_frozen_params=True, flatten_optimizer_state_dict=True)
_INTO_MODEL = dicts.StateDictOptions(ignore_frozen_params=True, strict=False)


class Checkpoints(Callback):
    """Saves as ``trainer.checkpoint_every`` says and at the last step; a ``start_step`` > 0 is loaded first."""

    def __init__(self, target: RunFolder, config: TrainerConfig, start_step: int, total_steps: int) -> None:
        self.folder, self.run, self.config = target.checkpoints, target.identity(), config
        self.start_step, self.total_steps, self.saved = start_step, total_steps, start_step
        self.waits = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Load the checkpoint, and have Lightning count on from there."""
        if self.start_step == 0:
            return
        path = self.folder / f"step-{self.start_step}"
        load(path, pl_module.scorer, trainer.optimizers[0])
        saved, stopping = read_json(path / STATE).get("early_stopping"), trainer.early_stopping_callback
        if saved and stopping:
            best = saved["best_score"]  # null where nothing was validated before: JSON has no infinity
            stopping.load_state_dict(saved | {"best_score": torch.tensor(torch.inf if best is None else best)})
        shims.start_at(trainer, self.start_step)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: object, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Save where it is time."""
        step = trainer.global_step
        due = step % self.config.checkpoint_every == 0 or step == self.total_steps
        if not due or step <= self.saved or (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        if shims.validation_follows(trainer):
            self.waits = True  # early stopping counts the validation that comes now; the checkpoint has to know
        else:
            self.save(trainer, pl_module, step)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: object) -> None:
        """Save what waited for this validation, and the end of a run that early stopping ends here."""
        if trainer.state.fn == "fit" and (self.waits or trainer.should_stop) and trainer.global_step > self.saved:
            self.save(trainer, pl_module, trainer.global_step)
        self.waits = False

    def save(self, trainer: pl.Trainer, pl_module: Any, step: int) -> None:
        """Write step-N, then drop all but the newest ``trainer.keep_checkpoints``, one at least."""
        if not trainer.optimizers[0].state:
            return  # every step so far was left out; asking torch for the empty state would make a step of it
        scorer = pl_module.scorer
        check_scorer(scorer, f"step {step}/{self.total_steps}:")
        temporary, final = self.folder / f"step-{step}.tmp", self.folder / f"step-{step}"
        state = _state(scorer, trainer.optimizers[0])
        if distributed.rank() == 0:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()  # not its parents: a run folder that was removed is not made again
        distributed.barrier()
        try:
            save_sharded(state, checkpoint_id=temporary, no_dist=distributed.world_size() == 1)
        except CheckpointException as error:
            raise _unwritten(temporary, error) from error
        # Each process hashes what it has written.
        mine = [path.name for path in temporary.glob(f"__{distributed.rank()}_*")]
        parts = distributed.gather(hashes(temporary, mine + [METADATA] * (distributed.rank() == 0)))
        if distributed.rank() == 0:
            stopping = trainer.early_stopping_callback
            counted = stopping and stopping.state_dict() | {"best_score": float(stopping.best_score)}
            about = {"step": step, "run": self.run, "files": dict(ChainMap(*parts))}
            about |= {"stopped": trainer.should_stop, "early_stopping": counted}
            write_json(temporary / STATE, sealed(about))
            temporary.rename(final)
            complete = [path for _, path in steps_in(self.folder) if (path / STATE).exists()]
            for path in complete[: -self.config.kept]:
                shutil.rmtree(path)
        distributed.barrier()
        self.saved = step


def _state(scorer: nn.Module, optimizer: torch.optim.Optimizer | None) -> dict[str, Any]:
    state: dict[str, Any] = {"model": dicts.get_model_state_dict(scorer, options=_OPTIONS)}
    if optimizer is not None:
        state["optimizer"] = dicts.get_optimizer_state_dict(scorer, optimizer, options=_OPTIONS)
    return state


def load(path: Path, scorer: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> None:
    """Load the checkpoint at ``path``: its weights, and the optimizer's state where one is given."""
    state = _state(scorer, optimizer)
    try:
        load_sharded(state, storage_reader=Reader(path), planner=Planner(), no_dist=distributed.world_size() == 1)
    except (CheckpointException, RuntimeError, ValueError, KeyError, AssertionError, pickle.UnpicklingError) as error:
        cause = _causes(error)[0] if isinstance(error, CheckpointException) else error
        why = str(cause).strip().partition("\n")[0][:300] or type(cause).__name__
        raise RunError(
            f"{path}: cannot be read ({why}); next: move it away, and give resume=auto again, which takes an older one"
        ) from None
    dicts.set_model_state_dict(scorer, state["model"], options=_INTO_MODEL)
    if optimizer is not None:
        dicts.set_optimizer_state_dict(scorer, optimizer, state["optimizer"], options=_OPTIONS)


def _unwritten(path: Path, error: CheckpointException) -> RunError:
    causes = _causes(error)
    full = any(getattr(cause, "errno", None) in FULL for cause in causes)
    repair = "put that right, then go on with the same command and resume=auto"
    again = AGAIN if full or not all(isinstance(cause, OSError) for cause in causes) else repair
    why = "; ".join(sorted({str(cause) for cause in causes}))
    return RunError(f"{path}: the checkpoint cannot be written ({why}); {again}")


def _causes(error: CheckpointException) -> list[BaseException]:
    """What went wrong in each process; a Ctrl-C that came while torch was at work on the files is raised again."""
    causes = [cause for cause, _ in error.failures.values()]
    if any(isinstance(cause, KeyboardInterrupt) for cause in causes):
        raise KeyboardInterrupt
    return causes
