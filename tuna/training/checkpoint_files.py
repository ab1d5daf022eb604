"""What a sound checkpoint is, and reading one: hashes show damage, and no pickle makes anything but torch's own."""

import hashlib
import io
import json
import logging
import pickle
import shutil
import zipfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePath
from typing import Any

import torch
from torch.distributed.checkpoint import metadata as dcp
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.planner import ReadItem

from tuna.errors import RunError
from tuna.runs import RunFolder, as_written, read_json, steps_in

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
