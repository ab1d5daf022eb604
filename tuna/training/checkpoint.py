"""Checkpoints that a SIGKILL cannot spoil, and the way back into a run. One format, sharded or not: torch's DCP.

Data order, dropout and learning rate follow from the step alone, so nothing is saved but weights, optimizer state and
what early stopping has counted (the loss scale of 16-mixed starts anew).
"""

import hashlib
import io
import json
import logging
import pickle
import shutil
import zipfile
from collections import ChainMap
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePath
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn
from torch.distributed.checkpoint import metadata as dcp
from torch.distributed.checkpoint import state_dict as dicts
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.planner import ReadItem
from torch.distributed.checkpoint.state_dict_loader import load as load_sharded
from torch.distributed.checkpoint.state_dict_saver import save as save_sharded

from tuna.errors import RunError
from tuna.runs import RunFolder, as_written, read_json, steps_in, write_json
from tuna.training import distributed, shims
from tuna.training.nonfinite import check_scorer
from tuna.training.trainer import TrainerConfig
from tuna.training.troubles import AGAIN, FULL

log = logging.getLogger("tuna")
METADATA = ".metadata"
# Everything that torch's ``.metadata`` is pickled from; constructing any of it does nothing else.
_CLASSES = {
    "torch.distributed.checkpoint.metadata": {
        "Metadata", "MetadataIndex", "ChunkStorageMetadata", "TensorProperties", "TensorStorageMetadata",
        "BytesStorageMetadata", "StorageMeta", "_MEM_FORMAT_ENCODING",
    },
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo", "_StoragePrefix"},
    "torch.serialization": {"_get_layout"},
    "torch": {"Size"},
    "pathlib": {"Path", "PosixPath"},
    "pathlib._local": {"Path", "PosixPath"},
    "collections": {"OrderedDict"},
}  # fmt: skip
STATE = "state.json"
# Frozen weights (LoRA's base) come from the starting model; only what is trained is saved.
_OPTIONS = dicts.StateDictOptions(ignore_frozen_params=True, flatten_optimizer_state_dict=True)
_INTO_MODEL = dicts.StateDictOptions(ignore_frozen_params=True, strict=False)


def newest_sound(target: RunFolder, total_steps: int) -> int:
    """The step of the newest checkpoint of ``target`` that is whole and its own, 0 where there is none.

    What is passed over on the way is logged and set aside as ``step-N.aside``, where no later checkpoint meets it; what
    a killed process left half-written is removed. A file that cannot be read at all (a failing disk) is a RunError.
    """
    folder = target.checkpoints
    for path in folder.glob("step-*.tmp"):
        shutil.rmtree(path)
    run, unsealed = target.identity(), target.read().get("schema_version") == 1
    found = steps_in(folder)
    for step, path in reversed(found):
        if (fault := _fault(path, step, run, total_steps, unsealed)) is None:
            return step
        names = [f"{path.name}.aside", *(f"{path.name}.aside-{number}" for number in range(2, 1000))]
        aside = path.rename(next(path.with_name(name) for name in names if not path.with_name(name).exists()))
        log.warning(f"{path}: {fault}; it is set aside as {aside.name}, and an older one is looked for")
    if found:
        log.warning(f"{folder}: no sound checkpoint is left, so the run starts at step 0")
    return 0


def _fault(path: Path, step: int, run: str, total_steps: int, unsealed: bool) -> str | None:
    """Why a run cannot go on from the checkpoint at ``path``, or None. unsealed: older versions wrote no hashes."""
    try:
        if not (path / STATE).is_file():
            return f"it has no {STATE}, so it was never completed"
        state = read_json(path / STATE)
        if state.get("step") != step or not 0 < step <= total_steps:
            return f"expected a step of this run's {total_steps}, got {state.get('step')!r:.40}"
        if not isinstance(state.get("early_stopping") or {}, dict):
            return f"{STATE}: early_stopping: expected an object or null"
        if unsealed and "files" not in state:
            log.info(f"{path}: written by an older version, without hashes; its parts' CRC-32 is looked at")
            return broken_parts(path)
        if state.get("run") != run:
            return "it belongs to another run"
        files = state.get("files")
        if not isinstance(files, dict) or METADATA not in files:
            return f"{STATE}: files: expected the hashes of its files"
        if sealed(state)["sha256"] != state.get("sha256"):
            return f"{STATE} was changed since it was written (another SHA-256)"
        if fault := damage(path, files):
            return fault
        known = {place.relative_path for place in Reader(path).read_metadata().storage_data.values()}
        unknown = sorted(known - files.keys())
        return f"{STATE} has no hash of {unknown[0]}" if unknown else None
    except RunError as error:
        return str(error).removeprefix(f"{path}/")
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except OSError as error:
        raise RunError(
            f"{path}: cannot be read ({error.strerror}); put that right, or move it away, and give resume=auto again"
        ) from error


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
        """Write step-N, then drop all but the newest ``trainer.keep_checkpoints``."""
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
            for path in complete[: -self.config.keep_checkpoints]:
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


def hashes(folder: Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Size in bytes and SHA-256 of files of ``folder``, by name."""

    def of(name: str) -> dict[str, Any]:
        with (folder / name).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
            return {"bytes": file.tell(), "sha256": digest.hexdigest()}

    names = sorted(names)
    with ThreadPoolExecutor(8) as pool:  # hashing leaves Python's lock
        return dict(zip(names, pool.map(of, names), strict=True))


def damage(folder: Path, written: Mapping[str, Any]) -> str | None:
    """What is wrong with files of ``folder`` by the ``hashes`` written with them, or None. A read may fail: OSError."""
    present = {path.name for path in folder.iterdir()}
    for name, about in written.items():
        if name not in present:
            return f"{name} is missing"
        size = (folder / name).stat().st_size
        if not isinstance(about, Mapping) or size != about.get("bytes"):
            return f"{name} has {size:,} bytes, not those that were written"
    found = hashes(folder, written)
    changed = [name for name, about in written.items() if found[name] != about]
    return f"{changed[0]} was changed since it was written (another SHA-256)" if changed else None


def sealed(state: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint's state with a hash of itself."""
    rest: dict[str, Any] = as_written({key: value for key, value in state.items() if key != "sha256"})
    return rest | {"sha256": hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()}


def broken_parts(folder: Path) -> str | None:
    """What the CRC-32 of a checkpoint's parts, which are ZIP archives, says against them: for those without hashes."""
    for place in Reader(folder).read_metadata().storage_data.values():
        with (folder / place.relative_path).open("rb") as file:
            file.seek(place.offset)
            part = io.BytesIO(file.read(place.length))
        try:
            with zipfile.ZipFile(part) as archive:
                broken = archive.testzip()
        except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError, ValueError) as error:
            return f"{place.relative_path} is damaged ({error})"
        if broken is not None:
            return f"{place.relative_path} is damaged (the CRC-32 of {broken} differs)"
    return None


class _Unpickler(pickle.Unpickler):
    """Makes nothing but what torch writes into ``.metadata``."""

    def find_class(self, module: str, name: str) -> Any:
        if name in _CLASSES.get(module, ()):
            return super().find_class(module, name)
        if module == "torch" and isinstance(dtype := getattr(torch, name, None), torch.dtype):
            return dtype
        raise pickle.UnpicklingError(f"it holds {module}.{name}, which no checkpoint has")


class Reader(FileSystemReader):
    """torch's reader, whose own ``read_metadata`` would run whatever a pickle says."""

    def read_metadata(self, *args: object, **kwargs: object) -> dcp.Metadata:
        """The checkpoint's table of contents; a RunError where it is none."""
        path = Path(self.path) / METADATA
        try:
            found = _Unpickler(io.BytesIO(path.read_bytes())).load()
        except (OSError, RunError):
            raise
        except Exception as error:  # a damaged pickle raises anything
            raise RunError(
                f"{path}: expected a checkpoint's table of contents ({error or type(error).__name__})"
            ) from None
        if not isinstance(found, dcp.Metadata):
            raise RunError(f"{path}: expected a checkpoint's table of contents, got {type(found).__name__}")
        for name in (place.relative_path for place in found.storage_data.values()):
            if PurePath(name).name != name:
                raise RunError(f"{path}: expected names of files next to it, got {name!r}")
        found.storage_meta = found.storage_meta or dcp.StorageMeta()
        found.storage_meta.load_id = self.load_id
        return found


class Planner(DefaultLoadPlanner):
    """torch's planner, whose own ``load_bytes`` would unpickle what is no tensor (a learning rate) without a guard."""

    def load_bytes(self, read_item: ReadItem, value: io.BytesIO) -> None:
        """Take a number or a text that stands beside the tensors."""
        plain = torch.load(value, weights_only=True)
        again = io.BytesIO()
        torch.save(plain, again)
        again.seek(0)
        super().load_bytes(read_item, again)
