"""Reads back what W&B wrote offline: ':W&B', 3 bytes, then LevelDB log frames of wandb_internal_pb2.Record."""

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_BLOCK = 32768
_HEADER = struct.Struct("<IHB")  # checksum, length, type: 1 whole, 2 first, 3 middle, 4 last
_WHOLE, _FIRST, _LAST = 1, 2, 4


@dataclass
class Offline:
    """One offline run: history rows, config, summary (nested keys joined by a dot), the run and exit records."""

    history: list[dict[str, Any]] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    kinds: list[str] = field(default_factory=list)
    run: Any = None
    exit_code: int | None = None


def read(path: Path) -> Offline:
    from wandb.proto import wandb_internal_pb2

    found = Offline()
    for frame in frames(path.read_bytes()):
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
        elif kind == "exit":
            found.exit_code = record.exit.exit_code
    return found


def frames(data: bytes) -> list[bytes]:
    """The records of the file, put together from their parts."""
    assert data[:4] == b":W&B", data[:7]
    position, parts, whole = 7, b"", []
    while position + _HEADER.size <= len(data):
        left = _BLOCK - position % _BLOCK
        if left < _HEADER.size:  # too short for a header: zeros up to the next block
            position += left
            continue
        _, length, kind = _HEADER.unpack_from(data, position)
        position += _HEADER.size
        part = data[position : position + length]
        assert kind in (1, 2, 3, 4) and len(part) == length, f"no frame at {position}"
        parts = part if kind in (_WHOLE, _FIRST) else parts + part
        if kind in (_WHOLE, _LAST):
            whole.append(parts)
        position += length
    return whole


def _items(items: Any) -> dict[str, Any]:
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}
