"""Checkpoints that a SIGKILL cannot spoil, and the way back into a run. One format, sharded or not: torch's DCP.

A checkpoint is written as ``step-N.tmp`` and renamed to ``step-N`` when every process has written its part. Resuming
takes the newest sound one: its state.json names this run, its step, and a hash of each file. Data order, dropout and
learning rate follow from the step alone, so nothing is saved but weights, optimizer state and what early stopping has
counted (the loss scale of 16-mixed starts anew).
"""

import logging
import pickle
import shutil
from collections import ChainMap
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn
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
from tuna.runs import RunFolder, read_json, write_json
from tuna.training import distributed, shims
from tuna.training.checkpoint_files import METADATA, Planner, Reader, broken_parts, damage, hashes, sealed, steps_in
from tuna.training.nonfinite import check_scorer
from tuna.training.trainer import TrainerConfig
from tuna.training.troubles import AGAIN, FULL

log = logging.getLogger("tuna")
_STATE = "state.json"
# Frozen weights (LoRA's base) come from the starting model; only what is trained is saved.
_OPTIONS = StateDictOptions(ignore_frozen_params=True, flatten_optimizer_state_dict=True)
_INTO_MODEL = StateDictOptions(ignore_frozen_params=True, strict=False)


def newest_sound(target: RunFolder, total_steps: int) -> int:
    """The step of the newest checkpoint of ``target`` that is whole and its own, 0 where there is none.

    What is passed over on the way is logged and set aside as ``step-N.aside``, where no later checkpoint meets it; what
    a killed process left half-written is removed. A file that cannot be read at all (a failing disk) is a RunError.
    """
    folder = target.checkpoints
    for path in folder.glob("step-*.tmp"):
        shutil.rmtree(path)
    run, unsealed = target.identity(), target.read().get("schema_version") == 1
    passed = 0
    for step, path in reversed(steps_in(folder)):
        if (fault := _fault(path, step, run, total_steps, unsealed)) is None:
            return step
        passed += 1
        names = [f"{path.name}.aside", *(f"{path.name}.aside-{number}" for number in range(2, 1000))]
        aside = path.rename(next(path.with_name(name) for name in names if not path.with_name(name).exists()))
        log.warning(f"{path}: {fault}; it is set aside as {aside.name}, and an older one is looked for")
    if passed:
        log.warning(f"{folder}: no sound checkpoint is left, so the run starts at step 0")
    return 0


def _fault(path: Path, step: int, run: str, total_steps: int, unsealed: bool) -> str | None:
    """Why a run cannot go on from the checkpoint at ``path``, or None. unsealed: older versions wrote no hashes."""
    try:
        if not (path / _STATE).is_file():
            return f"it has no {_STATE}, so it was never completed"
        state = read_json(path / _STATE)
        if state.get("step") != step or not 0 < step <= total_steps:
            return f"expected a step of this run's {total_steps}, got {state.get('step')!r:.40}"
        if not isinstance(state.get("early_stopping") or {}, dict):
            return f"{_STATE}: early_stopping: expected an object or null"
        if unsealed and "files" not in state:
            log.info(f"{path}: written by an older version, without hashes; its parts' CRC-32 is looked at")
            return broken_parts(path)
        if state.get("run") != run:
            return "it belongs to another run"
        files = state.get("files")
        if not isinstance(files, dict) or METADATA not in files:
            return f"{_STATE}: files: expected the hashes of its files"
        if sealed(state)["sha256"] != state.get("sha256"):
            return f"{_STATE} was changed since it was written (another SHA-256)"
        if fault := damage(path, files):
            return fault
        known = {place.relative_path for place in Reader(path).read_metadata().storage_data.values()}
        unknown = sorted(known - files.keys())
        return f"{_STATE} has no hash of {unknown[0]}" if unknown else None
    except RunError as error:
        return str(error).removeprefix(f"{path}/")
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except OSError as error:
        raise RunError(
            f"{path}: cannot be read ({error.strerror}); put that right, or move it away, and give resume=auto again"
        ) from error


def stopped(path: Path) -> bool:
    """Whether early stopping ended the run at this checkpoint."""
    return bool(read_json(path / _STATE).get("stopped"))


class Checkpoints(Callback):
    """Saves as ``trainer.checkpoint_every`` says and at the last step; a ``start_step`` > 0 is loaded first."""

    def __init__(self, target: RunFolder, config: TrainerConfig, start_step: int, total_steps: int) -> None:
        self.folder, self.run, self.config = target.checkpoints, target.identity(), config
        self.start_step, self.total_steps, self.saved = start_step, total_steps, start_step
        self.waits = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Load the checkpoint, and have Lightning count on from there."""
        if self.start_step == 0:
            return
        path = self.folder / f"step-{self.start_step}"
        load(path, _scorer(pl_module), trainer.optimizers[0])
        saved, stopping = read_json(path / _STATE).get("early_stopping"), trainer.early_stopping_callback
        if saved and stopping:
            best = saved["best_score"]  # null where nothing was validated before: JSON has no infinity
            stopping.load_state_dict(saved | {"best_score": torch.tensor(torch.inf if best is None else best)})
        shims.start_at(trainer, self.start_step)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
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

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save what waited for this validation, and the end of a run that early stopping ends here."""
        if trainer.state.fn == "fit" and (self.waits or trainer.should_stop) and trainer.global_step > self.saved:
            self.save(trainer, pl_module, trainer.global_step)
        self.waits = False

    def save(self, trainer: pl.Trainer, pl_module: pl.LightningModule, step: int) -> None:
        """Write step-N, then drop all but the newest ``trainer.keep_checkpoints``."""
        if not trainer.optimizers[0].state:
            return  # every step so far was left out; asking torch for the empty state would make a step of it
        scorer = _scorer(pl_module)
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
            write_json(temporary / _STATE, sealed(about))
            temporary.rename(final)
            complete = [path for _, path in steps_in(self.folder) if (path / _STATE).exists()]
            for path in complete[: -self.config.keep_checkpoints]:
                shutil.rmtree(path)
        distributed.barrier()
        self.saved = step


def _scorer(module: pl.LightningModule) -> nn.Module:
    assert isinstance(module, ScoringModule) and module.scorer is not None
    return module.scorer


def _state(scorer: nn.Module, optimizer: torch.optim.Optimizer | None) -> dict[str, Any]:
    state: dict[str, Any] = {"model": get_model_state_dict(scorer, options=_OPTIONS)}
    if optimizer is not None:
        state["optimizer"] = get_optimizer_state_dict(scorer, optimizer, options=_OPTIONS)
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
    set_model_state_dict(scorer, state["model"], options=_INTO_MODEL)
    if optimizer is not None:
        set_optimizer_state_dict(scorer, optimizer, state["optimizer"], options=_OPTIONS)


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
