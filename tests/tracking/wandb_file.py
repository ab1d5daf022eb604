"""Reads back what W&B wrote offline: ':W&B', 3 bytes, then LevelDB log frames of wandb_internal_pb2.Record."""

import json
import struct
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_BLOCK = 32768
_HEADER = struct.Struct("<IHB")  # checksum, length, type: 1 whole, 2 first, 3 middle, 4 last
_WHOLE, _FIRST, _LAST = 1, 2, 4


@dataclass
class Offline:
    """One offline run: history rows, config, summary (nested keys joined by a dot), artifacts, run and exit records."""

    history: list[dict[str, Any]] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    kinds: list[str] = field(default_factory=list)
    artifacts: list[Any] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    run: Any = None
    exit_code: int | None = None

    def used(self) -> dict[str, str]:
        """Names of the artifacts that the run was made from, with their digests."""
        return {item.name: item.digest for item in self.artifacts if item.use_after_commit}

    def made(self, kind: str) -> dict[str, str]:
        """Names of the artifacts of this type that the run has made, with their digests."""
        return {item.name: item.digest for item in self.artifacts if not item.use_after_commit and item.type == kind}


def files(folder: Path) -> list[Path]:
    """The offline runs of a run's folder."""
    return sorted(folder.glob("wandb/offline-run-*/*.wandb"))


def read_one(folder: Path) -> Offline:
    """The only run of ``folder``, once it is whole: W&B's service writes the end after finish() has returned."""
    (path,) = files(folder)
    end = time.monotonic() + 30
    while time.monotonic() < end:
        found = read(path, whole=False)
        if found.exit_code is not None:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{path} has no end")


def read(path: Path, *, whole: bool = True) -> Offline:
    """The run in ``path``; whole=False: what of it is written so far."""
    from wandb.proto import wandb_internal_pb2

    found = Offline()
    for frame in frames(path.read_bytes(), whole=whole):
        record = wandb_internal_pb2.Record.FromString(frame)  # type: ignore[attr-defined,unused-ignore]
        kind = record.WhichOneof("record_type")
        found.kinds.append(kind)
        if kind == "run":
            found.run = record.run
            found.config |= _items(record.run.config.update)
        elif kind == "config":
            found.config |= _items(record.config.update)
        elif kind == "history":
            found.history.append(_items(record.history.item))
        elif kind == "summary":
            found.summary |= _items(record.summary.update)
        elif kind == "artifact":
            found.artifacts.append(record.artifact)
        elif kind == "files":
            found.files += [item.path for item in record.files.files]
        elif kind == "exit":
            found.exit_code = record.exit.exit_code
    return found


def frames(data: bytes, *, whole: bool = True) -> list[bytes]:
    """The records of the file, put together from their parts; whole=False: up to where it breaks off."""
    position, parts, found = 7, b"", []
    assert not data or data[:4] == b":W&B", data[:7]
    while position + _HEADER.size <= len(data):
        left = _BLOCK - position % _BLOCK
        if left < _HEADER.size:  # too short for a header: zeros up to the next block
            position += left
            continue
        _, length, kind = _HEADER.unpack_from(data, position)
        position += _HEADER.size
        part = data[position : position + length]
        if not whole and len(part) < length:
            break
        assert kind in (1, 2, 3, 4) and len(part) == length, f"no frame at {position}"
        parts = part if kind in (_WHOLE, _FIRST) else parts + part
        if kind in (_WHOLE, _LAST):
            found.append(parts)
        position += length
    return found


def _items(items: Any) -> dict[str, Any]:
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}
