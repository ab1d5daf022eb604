"""Checkpoints that a SIGKILL cannot spoil, and the way back into a run. One format, sharded or not: torch's DCP.

A checkpoint is written as ``step-N.tmp`` and renamed to ``step-N`` when every process has written its part. Resuming
takes the newest sound one: its state.json names this run, its step, and a hash of each file. Data order, dropout and
learning rate follow from the step alone, so nothing is saved but weights, optimizer state and what early stopping has
counted (the loss scale of 16-mixed starts anew).
"""

import logging
import pickle
import re
import shutil
from collections.abc import Mapping
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
from tuna.runs import RunFolder, read_json, write_json
from tuna.training import distributed
from tuna.training.checkpoint_files import METADATA, Planner, Reader, broken_parts, damage, hashes, sealed
from tuna.training.nonfinite import check_scorer
from tuna.training.troubles import AGAIN, FULL

log = logging.getLogger("tuna")
REPAIR = "put that right, then go on with the same command and resume=auto"
_STATE = "state.json"
_NAME = re.compile(r"step-(\d+)")
# Frozen weights (LoRA's base) come from the starting model; only what is trained is saved.
_OPTIONS = StateDictOptions(ignore_frozen_params=True, flatten_optimizer_state_dict=True)


def complete(folder: Path) -> list[tuple[int, Path]]:
    """(step, path) of the complete checkpoints in ``folder``, oldest first."""
    return [(step, path) for step, path in _steps(folder) if (path / _STATE).exists()]


def _steps(folder: Path) -> list[tuple[int, Path]]:
    """(step, path) of the checkpoints in ``folder``, complete or not, oldest first."""
    return sorted((int(m.group(1)), path) for path in folder.glob("step-*") if (m := _NAME.fullmatch(path.name)))


def newest_sound(target: RunFolder, total_steps: int) -> int:
    """The step of the newest checkpoint of ``target`` that is whole and its own, 0 where there is none.

    What is passed over on the way is logged and set aside as ``step-N.aside``, where no later checkpoint meets it; what
    a killed process left half-written is removed.

    Raises:
        RunError: a file cannot be read at all (permissions, a failing disk).
    """
    folder = target.checkpoints
    for path in folder.glob("step-*.tmp"):
        shutil.rmtree(path)
    run, unsealed = target.identity(), target.read().get("schema_version") == 1
    passed = 0
    for step, path in reversed(_steps(folder)):
        if (fault := _fault(path, step, run, total_steps, unsealed)) is None:
            return step
        passed += 1
        log.warning(f"{path}: {fault}; it is set aside as {_set_aside(path).name}, and an older one is looked for")
    if passed:
        log.warning(f"{folder}: no sound checkpoint is left, so the run starts at step 0")
    return 0


def _fault(path: Path, step: int, run: str, total_steps: int, unsealed: bool) -> str | None:
    """Why a run cannot go on from the checkpoint at ``path``, or None. unsealed: older versions wrote no hashes."""
    try:
        if not (path / _STATE).is_file():
            return f"it has no {_STATE}, so it was never completed"
        try:
            state = read_json(path / _STATE)
        except RunError as error:
            return str(error).removeprefix(f"{path}/")
        if state.get("step") != step or not 0 < step <= total_steps:
            return f"expected a step of this run's {total_steps}, got {state.get('step')!r:.40}"
        if not isinstance(state.get("early_stopping") or {}, dict):
            return f"{_STATE}: early_stopping: expected an object or null"
        old = unsealed and "files" not in state
        if old:
            log.info(f"{path}: written by an older version, without hashes; its parts' CRC-32 is looked at")
        elif fault := _broken_seal(path, state, run):
            return fault
        try:
            known = {place.relative_path for place in Reader(path).read_metadata().storage_data.values()}
        except RunError as error:
            return str(error).removeprefix(f"{path}/")
        if old:
            return broken_parts(path)
        unknown = sorted(known - state["files"].keys())
        return f"{_STATE} has no hash of {unknown[0]}" if unknown else None
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except OSError as error:
        raise RunError(
            f"{path}: cannot be read ({error.strerror}); put that right, or move it away, and give resume=auto again"
        ) from error


def _broken_seal(path: Path, state: Mapping[str, Any], run: str) -> str | None:
    """What the run's name and the hashes in state.json say against a checkpoint."""
    files = state.get("files")
    if state.get("run") != run:
        return "it belongs to another run"
    if not isinstance(files, dict) or METADATA not in files:
        return f"{_STATE}: files: expected the hashes of its files"
    if sealed(state)["sha256"] != state.get("sha256"):
        return f"{_STATE} was changed since it was written (another SHA-256)"
    return damage(path, files)


def _set_aside(path: Path) -> Path:
    names = [f"{path.name}.aside", *(f"{path.name}.aside-{number}" for number in range(2, 1000))]
    free = next(path.with_name(name) for name in names if not path.with_name(name).exists())
    return path.rename(free)


def stopped(path: Path) -> bool:
    """Whether early stopping ended the run at this checkpoint."""
    return bool(read_json(path / _STATE).get("stopped"))


class Checkpoints(Callback):
    """Saves every ``every`` optimizer steps and at the last one; ``start_step`` > 0 loads step-<start_step> first.

    run: RunFolder.identity(), which each checkpoint carries.
    """

    def __init__(self, folder: Path, *, run: str, every: int, keep: int, start_step: int, total_steps: int) -> None:
        self.folder, self.run, self.every, self.keep = folder, run, every, keep
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
            raise _unwritten(temporary, error) from error
        files = self._hashes(temporary)
        if distributed.rank() == 0:
            stopping = {"stopped": trainer.should_stop, "early_stopping": _early_stopping(trainer)}
            write_json(temporary / _STATE, sealed({"step": step, "run": self.run, "files": files, **stopping}))
            temporary.rename(final)
            for _, path in complete(self.folder)[: -self.keep]:
                shutil.rmtree(path)
        distributed.barrier()
        self.saved = step

    def _hashes(self, folder: Path) -> dict[str, Any]:
        """Of all files, each process hashing what it has written."""
        mine = [path.name for path in folder.glob(f"__{distributed.rank()}_*")]
        parts = distributed.gather(hashes(folder, mine + [METADATA] * (distributed.rank() == 0)))
        return {name: about for part in parts for name, about in part.items()}

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
        _read(state, path)
        options = StateDictOptions(ignore_frozen_params=True, flatten_optimizer_state_dict=True, strict=False)
        set_model_state_dict(pl_module.scorer, state["model"], options=options)
        set_optimizer_state_dict(pl_module.scorer, trainer.optimizers[0], state["optimizer"], options=_OPTIONS)
        saved = read_json(path / _STATE).get("early_stopping")
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if saved and isinstance(callback, EarlyStopping):
                best = saved["best_score"]  # null where nothing was validated before: JSON has no infinity
                callback.load_state_dict(saved | {"best_score": torch.tensor(torch.inf if best is None else best)})


def load_weights(scorer: torch.nn.Module, path: Path) -> None:
    """Load only the weights of the checkpoint at ``path``."""
    state = {"model": get_model_state_dict(scorer, options=_OPTIONS)}
    _read(state, path)
    options = StateDictOptions(ignore_frozen_params=True, strict=False)
    set_model_state_dict(scorer, state["model"], options=options)


def _read(state: dict[str, Any], path: Path) -> None:
    """Fill ``state`` from the checkpoint at ``path``.

    Raises:
        RunError: it holds something else.
    """
    no_dist = distributed.world_size() == 1
    try:
        load_sharded(state, storage_reader=Reader(path), planner=Planner(), no_dist=no_dist)
    except CheckpointException as error:
        _stop_if_interrupted(error)
        raise _unread(path, next(iter(error.failures.values()))[0]) from None
    except (RuntimeError, ValueError, KeyError, AssertionError, pickle.UnpicklingError) as error:
        raise _unread(path, error) from None


def _unread(path: Path, error: BaseException) -> RunError:
    told = str(error).strip().partition("\n")[0][:300] or type(error).__name__
    return RunError(
        f"{path}: cannot be read ({told}); next: move it away, and give resume=auto again, which takes an older one"
    )


def _unwritten(path: Path, error: CheckpointException) -> RunError:
    """torch's exception is no Exception, and holds a stack trace for each process."""
    _stop_if_interrupted(error)
    causes = [cause for cause, _ in error.failures.values()]
    told = "; ".join(sorted({str(cause) for cause in causes}))
    full = any(getattr(cause, "errno", None) in FULL for cause in causes)
    again = AGAIN if full or not all(isinstance(cause, OSError) for cause in causes) else REPAIR
    return RunError(f"{path}: the checkpoint cannot be written ({told}); {again}")


def _stop_if_interrupted(error: CheckpointException) -> None:
    """Raise the Ctrl-C that came while torch was at work on the files."""
    if any(isinstance(cause, KeyboardInterrupt) for cause, _ in error.failures.values()):
        raise KeyboardInterrupt


def _early_stopping(trainer: pl.Trainer) -> dict[str, Any] | None:
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, EarlyStopping):
            return callback.state_dict() | {"best_score": float(callback.best_score)}
    return None
