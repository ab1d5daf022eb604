"""What was asked and answered, on disk the moment it is known: append-only, locked, mended after a kill. A store is a
folder of journals, files of JSON lines; a line is one finished request (or one finished instruction of a local model)
under a key that hashes all that shaped it. What is there is never asked for again.
"""

import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from itertools import takewhile
from math import isfinite
from pathlib import Path
from typing import Any, Self, TypeVar
from zlib import crc32

from tuna.errors import OtherSettings, RunError
from tuna.files import locked
from tuna.runs import read_json, write_json
from tuna.secrets import clean, may_hold

Entry = dict[str, Any]
T = TypeVar("T")
_CHUNK = 1 << 20
# How a line begins: the CRC-32 of all after it comes first, so that no cut within a line hides that it had one.
_SEAL = b'{"crc": "%08x", '
_SEALED = len(_SEAL % 0)
_KEY = b'"key": "'
_DAMAGE = (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError)
_decode = json.JSONDecoder().raw_decode


def key_of(**parts: object) -> str:
    """A hash of everything that shaped an answer, the same in every process and on every machine.

    >>> key_of(prompt="Hi", model="m", temperature=1.0) == key_of(temperature=1.0, model="m", prompt="Hi")
    True
    >>> key_of(model="a") == key_of(model="b")
    False
    """
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class Journal:
    """One append-only file of JSON lines, each with a ``key`` and a checksum; a half-written last line is cut away. In
    memory is where each key's lines lie. Lines without a checksum (of an older version) are taken where they are whole
    JSON objects with a key. Whatever reads raises RunError: a line was changed since it was written, with its number.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._places: dict[str, int | list[int]] | None = None
        self._count = 0
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise RunError(f"{path}: cannot be opened ({error.strerror}); mend its permissions") from None
        size = os.fstat(self._file).st_size
        self._size = self._whole(size)
        if self._size < size:  # a half-written line
            os.ftruncate(self._file, self._size)

    def _whole(self, size: int) -> int:
        """Bytes up to the end of the last whole line."""
        while size:
            start = max(0, size - _CHUNK)
            end = os.pread(self._file, size - start, start).rfind(b"\n")
            if end >= 0:
                return start + end + 1
            size = start
        return 0

    def get(self, key: str) -> list[Entry]:
        """All lines of a key, in the order they were written."""
        return self.read(key, dict)

    def read(self, key: str, of: Callable[[Entry], T]) -> list[T]:
        """What ``of`` takes from each line of a key, in the order written; RunError where a line lacks that."""
        found, entries = self._index.get(key, []), []
        for place in [found] if isinstance(found, int) else found:
            at, length = place >> 32, place & 0xFFFFFFFF
            try:
                entries.append(of(parsed(_sound(os.pread(self._file, length, at)))))
            except _DAMAGE:
                raise self._damaged(at) from None
        return entries

    def __contains__(self, key: str) -> bool:
        return key in self._index

    def __len__(self) -> int:
        return len(self._index) and self._count

    def __iter__(self) -> Iterator[Entry]:
        """All lines, in the order they were written; no more than one is in memory."""
        return self.each(parsed)

    def each(self, of: Callable[[bytes], T]) -> Iterator[T]:
        """What ``of`` makes of each line's fields, as they stand between the braces; RunError where it raises."""
        for at, _, body in self._bodies():
            try:
                yield of(body)
            except _DAMAGE:
                raise self._damaged(at) from None

    @property
    def _index(self) -> dict[str, int | list[int]]:
        if self._places is None:
            places: dict[str, int | list[int]] = {}
            self._count = 0
            for at, length, body in self._bodies():
                try:
                    self._note(places, _key(body), at, length)
                except _DAMAGE:
                    raise self._damaged(at) from None
            self._places = places
        return self._places

    def _note(self, places: dict[str, int | list[int]], key: str, at: int, length: int) -> None:
        place = at << 32 | length
        before = places.setdefault(key, place)
        self._count += 1
        if before is not place:
            places[key] = [*before, place] if isinstance(before, list) else [before, place]

    def _bodies(self) -> Iterator[tuple[int, int, bytes]]:
        """Where each line begins, how long it is, and its fields without checksum and braces."""
        at, old = 0, True
        with self.path.open("rb", buffering=_CHUNK) as file:
            for line in file:  # bytes end at \n alone
                try:
                    body = _sound(line, old)
                except ValueError:
                    raise self._damaged(at) from None
                old = old and line.startswith(b"{" + _KEY)
                yield at, len(line), body
                at += len(line)

    def _damaged(self, at: int) -> RunError:
        with self.path.open("rb") as file:
            number = 1 + sum(1 for _ in takewhile(lambda line: file.tell() <= at, file))
        shown = os.pread(self._file, 40, at).partition(b"\n")[0]
        return RunError(
            f"{self.path}:{number}: expected a JSON object with a key as it was written, got {shown!r}; the file was "
            "changed by something else. Next: delete that line (its answer is asked for again) and run the same command"
        )

    def append(self, entry: Mapping[str, Any]) -> None:
        """Write one line, without secrets; it survives a kill of this process at any later moment. NaN is null.
        Raises RunError where the disk is full; the file is then as it was before.
        """
        rest = _dumped({"key": entry["key"], **entry})[1:] + b"\n"
        line = _SEAL % crc32(rest) + rest
        try:
            written = os.write(self._file, line)
            if written < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            os.ftruncate(self._file, self._size)
            raise RunError(
                f"{self.path}: {error.strerror}; nothing is lost: free some space, run the same command"
            ) from None
        if self._places is not None:
            self._note(self._places, entry["key"], self._size, len(line))
        self._size += len(line)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


class Store:
    """The folder of an output: its lock, its identity and its journals. Use it as a context manager.

    patience: seconds to wait for the lock. keys: what chooses another folder. Raises: RunError where another process
    holds it, or it cannot be written to.
    """

    def __init__(self, folder: Path, *, patience: float = 2.0, keys: str = "output=...") -> None:
        self.folder, self.keys = folder, keys
        self.patience = patience
        self._journals: dict[str, Journal] = {}
        self._held = ExitStack()

    def __enter__(self) -> Self:
        busy = f"{self.folder}: another process is collecting into it; wait for it, or choose another {self.keys}"
        self._held.enter_context(locked(self.folder / ".lock", busy=busy, keys=self.keys, patience=self.patience))
        return self

    def __exit__(self, *_: object) -> None:
        self._journals.clear()
        self._held.close()

    def journal(self, name: str) -> Journal:
        """The journal ``<name>.jsonl``, opened once."""
        if name not in self._journals:
            self._journals[name] = journal = Journal(self.folder / f"{name}.jsonl")
            self._held.callback(journal.close)
        return self._journals[name]

    def identify(self, source: Mapping[str, Any], ranking: Mapping[str, Any], *, rerank: bool = False) -> None:
        """Hold the store to what it was begun with, so that two models never share a file by accident. source: what
        answers, which never changes; ranking: what orders the answers, which changes only with ``rerank``.
        Raises RunError with the differences.
        """
        path = self.folder / "identity.json"
        now = {"source": dict(source), "ranking": dict(ranking)}
        if path.exists():
            written = read_json(path, {"source": dict, "ranking": dict}, needs=("source", "ranking"))
            self._compare("source", written, now, "choose another output=... (or name=...)")
            if not rerank:
                hint = "choose another output=..., or rerank=true to keep the answers and rank them anew"
                self._compare("ranking", written, now, hint)
        write_json(path, now)

    def _compare(self, part: str, written: Mapping[str, Any], now: Mapping[str, Any], hint: str) -> None:
        old, new = written[part], json.loads(json.dumps(now[part]))
        keys = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
        if keys:
            lines = [f"  {part}.{key}: it has {old.get(key)!r}, now {new.get(key)!r}" for key in keys]
            raise OtherSettings(
                "\n".join([f"{self.folder}: was collected with other settings:", *lines, f"Next: {hint}"])
            )


def _sound(line: bytes, old: bool = True) -> bytes:
    """The line's fields without checksum and braces. old: it may have none, which no version writes after one."""
    rest = line[_SEALED:]
    if line[:_SEALED] == _SEAL % crc32(rest):
        return rest[:-2]
    if old and line.startswith(b"{" + _KEY) and line.endswith(b"}\n"):
        return line[1:-2]
    raise ValueError("another checksum, or none")


def _key(body: bytes) -> str:
    """The line's key, found without parsing what our own writer wrote."""
    end = body.find(b'"', len(_KEY))
    key = body[len(_KEY) : end]
    if end < 0 or b"\\" in key:
        return str(parsed(body)["key"])
    return key.decode()


def parsed(body: bytes) -> Entry:
    """The object of a line whose fields these are; ValueError or KeyError where it is none, or has no key."""
    text = (b"{" + body + b"}").decode()
    entry: Entry
    entry, end = _decode(text)  # an object, since it begins as one
    if end != len(text) or not isinstance(entry["key"], str):
        raise ValueError("no object with a key")
    return entry


def _dumped(entry: Entry) -> bytes:
    try:
        text = json.dumps(entry, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError):
        text = json.dumps(_plain(entry), ensure_ascii=False, allow_nan=False)
    if may_hold(text):
        entry = {**clean(json.loads(text)), "key": entry["key"]}  # a hash may hold 8 letters of a hexadecimal key
        text = json.dumps(entry, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "replace")


def _plain(value: object, deepest: int = 50) -> Any:
    """The value with null in place of what JSON has no number for, and of what is nested deeper than any answer."""
    if isinstance(value, dict | list | tuple) and not deepest:
        return None
    if isinstance(value, dict):
        return {key: _plain(inner, deepest - 1) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner, deepest - 1) for inner in value]
    return None if isinstance(value, float) and not isfinite(value) else value
