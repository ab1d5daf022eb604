"""What was asked and answered, on disk the moment it is known: append-only, locked, mended after a kill.

A store is a folder ``<name>.store/`` beside the output. Each of its journals is a file of JSON lines; a line is one
finished request (or one finished instruction of a local model) under a key that hashes all that shaped it. What is
there is never asked for again.
"""

import errno
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from tuna.errors import RunError
from tuna.runs import read_json, write_json
from tuna.secrets import clean, may_hold

Entry = dict[str, Any]


def key_of(**parts: Any) -> str:
    """A hash of everything that shaped an answer, the same in every process and on every machine.

    >>> key_of(prompt="Hi", model="m", temperature=1.0) == key_of(temperature=1.0, model="m", prompt="Hi")
    True
    >>> key_of(model="a") == key_of(model="b")
    False
    """
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class Journal:
    """One append-only file of JSON lines, each with a ``key``; a half-written last line is cut away.

    Raises:
        RunError: a line that is not the last is no JSON object with a key.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._entries: dict[str, list[Entry]] = {}
        self.mended = 0  # bytes of a half-written line
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            self._load()
        except BaseException:
            os.close(self._file)
            raise

    def _load(self) -> None:
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        self._size = whole
        if whole < len(data):
            self.mended = len(data) - whole
            os.ftruncate(self._file, whole)
        for number, line in enumerate(data[:whole].split(b"\n")[:-1], start=1):
            try:
                entry = json.loads(line)
                self._entries.setdefault(entry["key"], []).append(entry)
            except (ValueError, KeyError, TypeError):
                raise RunError(
                    f"{self.path}:{number}: expected a JSON object with a key, got {line[:40]!r}; the file was changed "
                    "by something else. Next: delete that line (its answer is asked for again) and run the same command"
                ) from None

    def get(self, key: str) -> list[Entry]:
        """All lines of a key, in the order they were written."""
        return self._entries.get(key, [])

    def __len__(self) -> int:
        return sum(map(len, self._entries.values()))

    def __iter__(self) -> Iterator[Entry]:
        return (entry for entries in self._entries.values() for entry in entries)

    def append(self, entry: Mapping[str, Any]) -> None:
        """Write one line, without secrets; it survives a kill of this process at any later moment.

        Raises:
            RunError: the disk is full; the file is then as it was before.
        """
        text = json.dumps(entry, ensure_ascii=False, allow_nan=False)
        if may_hold(text):
            entry = {**clean(json.loads(text)), "key": entry["key"]}  # a hash may hold 8 letters of a hexadecimal key
            text = json.dumps(entry, ensure_ascii=False, allow_nan=False)
        line = text.encode("utf-8", "replace") + b"\n"
        try:
            written = os.write(self._file, line)
            if written < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            os.ftruncate(self._file, self._size)
            raise RunError(
                f"{self.path}: {error.strerror}; nothing is lost: free some space, run the same command"
            ) from None
        self._size += len(line)
        self._entries.setdefault(entry["key"], []).append(dict(entry))

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


class Store:
    """The folder of an output: its lock, its identity and its journals. Use it as a context manager.

    Raises:
        RunError: another process holds it, or it cannot be written to.
    """

    def __init__(self, folder: Path, *, patience: float = 2.0) -> None:
        self.folder = folder
        self.patience = patience
        self._journals: dict[str, Journal] = {}

    def __enter__(self) -> Self:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = (self.folder / ".lock").open("w")
        except OSError as error:
            raise RunError(
                f"output: cannot write to {self.folder} ({error.strerror}); choose another output=..."
            ) from None
        end = time.monotonic() + self.patience
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return self
            except BlockingIOError:
                if time.monotonic() > end:
                    self._lock.close()
                    raise RunError(
                        f"{self.folder}: another process is collecting into it; wait for it, or choose another "
                        "output=..."
                    ) from None
                time.sleep(0.05)

    def __exit__(self, *_: object) -> None:
        for journal in self._journals.values():
            journal.close()
        self._journals.clear()
        fcntl.flock(self._lock, fcntl.LOCK_UN)
        self._lock.close()

    def journal(self, name: str) -> Journal:
        """The journal ``<name>.jsonl``, opened once."""
        if name not in self._journals:
            self._journals[name] = Journal(self.folder / f"{name}.jsonl")
        return self._journals[name]

    def identify(self, source: Mapping[str, Any], ranking: Mapping[str, Any], *, rerank: bool = False) -> None:
        """Hold the store to what it was begun with, so that two models never share a file by accident.

        source: what answers; never changes. ranking: what orders them; may change with ``rerank``.

        Raises:
            RunError: with the differences.
        """
        path = self.folder / "identity.json"
        written = read_json(path)
        if written:
            _compare(self.folder, "source", written["source"], source, "choose another output=... (or name=...)")
            if not rerank:
                hint = "choose another output=..., or rerank=true to keep the answers and rank them anew"
                _compare(self.folder, "ranking", written["ranking"], ranking, hint)
        write_json(path, {"source": dict(source), "ranking": dict(ranking)})


def _compare(folder: Path, part: str, old: Mapping[str, Any], new: Mapping[str, Any], hint: str) -> None:
    old, new = json.loads(json.dumps(old)), json.loads(json.dumps(new))
    lines = [
        f"  {part}.{key}: it has {old.get(key)!r}, now {new.get(key)!r}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]
    if lines:
        raise RunError(f"{folder}: was collected with other settings:\n" + "\n".join(lines) + f"\nNext: {hint}")
