"""Rows from JSONL, JSON, Parquet, folders of them and hub data sets; atomic JSONL writing; content hashes."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from tuna.errors import DataError

SUFFIXES = (".jsonl", ".ndjson", ".json", ".parquet")


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it stands in the file. ``problem`` is set when it could not be read at all."""

    where: str  # "file:line" in JSONL, "file:row" (from 1) elsewhere
    value: Any
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Rows:
    """All rows of one path, in order, and the hash of their content (never of the path)."""

    path: str
    rows: list[Row]
    sha256: str


def read_rows(path: str) -> Rows:
    """Read a JSONL, JSON (one list) or Parquet file, a folder of such files, or a hub data set "owner/name".

    Lines of a JSONL file that are no JSON become rows with a ``problem``; blank lines are skipped.

    Raises: DataError when there is no such path, nothing in it, or the file as a whole cannot be read.
    """
    place = Path(path).expanduser()
    if place.is_dir():
        found = _read_folder(path, place)
    elif place.is_file():
        found = _read_file(path, place)
    elif is_hub_id(path):
        found = _read_hub(path)
    else:
        raise DataError(_missing(path))
    if not found.rows:
        raise DataError(f"{path}: expected one row or more, got an empty {'folder' if place.is_dir() else 'file'}")
    return found


def is_hub_id(path: str) -> bool:
    """Whether a path that does not exist reads as "owner/name" on the hub rather than as a file gone missing."""
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", path) or path.lower().endswith(SUFFIXES):
        return False
    return not Path(path.split("/")[0]).is_dir()


def _missing(path: str) -> str:
    place = Path(path).expanduser().absolute()
    folder = next(p for p in place.parents if p.is_dir())
    wanted = place.relative_to(folder).parts[0]  # the first part that is not there
    stems = {entry.stem: entry.name for entry in sorted(folder.iterdir(), reverse=True)}
    near = get_close_matches(Path(wanted).stem, stems, n=1, cutoff=0.5)
    if near:
        found = folder / stems[near[0]]
        return f"{path}: no such file; nearest: {found}; next: datamodule.path={found}"
    return f"{path}: no such file or folder, and no hub id owner/name; next: ls {folder}"


def _read_file(path: str, place: Path) -> Rows:
    try:
        data = place.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    reader = _reader(place.suffix.lower(), data)
    return Rows(path, reader(path, data) if data.strip() else [], hashlib.sha256(data).hexdigest())


def _reader(suffix: str, data: bytes) -> Callable[[str, bytes], list[Row]]:
    """By content before name: a JSON list called .jsonl, or JSON lines called .json, are read as what they are."""
    if data[:4] == b"PAR1" or suffix == ".parquet":
        return _parquet
    head = data[:64].removeprefix(b"\xef\xbb\xbf").lstrip()
    return _json if head.startswith(b"[") else _jsonl


def _decode(path: str, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}:{line}: expected UTF-8 text (JSONL, JSON) or Parquet, got other bytes") from None


def _jsonl(path: str, data: bytes) -> list[Row]:
    rows = []
    # Only \n ends a line: str.splitlines would also split at U+2028 inside a string.
    for number, line in enumerate(_decode(path, data).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            rows.append(Row(where, json.loads(line)))
        except (json.JSONDecodeError, RecursionError) as error:
            rows.append(Row(where, None, f"line: expected JSON, got {_excerpt(line)} ({error})"))
    return rows


def _excerpt(line: str) -> str:
    return repr(line if len(line) <= 40 else line[:30] + "...")


def _json(path: str, data: bytes) -> list[Row]:
    try:
        values = json.loads(_decode(path, data))
    except (json.JSONDecodeError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise DataError(f"{path}:{line}: expected a JSON list of objects, got broken JSON ({error})") from None
    return [Row(f"{path}:{number}", value) for number, value in enumerate(values, start=1)]


def _parquet(path: str, data: bytes) -> list[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        values = pq.read_table(pa.BufferReader(data)).to_pylist()
    except pa.ArrowException as error:
        raise DataError(f"{path}: expected a Parquet file, got one that cannot be read ({error})") from None
    return [Row(f"{path}:{number}", value) for number, value in enumerate(values, start=1)]


def _read_folder(path: str, place: Path) -> Rows:
    if (place / "state.json").is_file() or (place / "dataset_dict.json").is_file():
        return _read_dataset(path, lambda datasets: datasets.load_from_disk(str(place)))
    files = sorted(p for p in place.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
    if not files:
        raise DataError(f"{path}: expected a folder with {', '.join(SUFFIXES)} files, got none; next: ls {path}")
    parts = [_read_file(str(p), p) for p in files]
    digest = hashlib.sha256("".join(part.sha256 for part in parts).encode()).hexdigest()
    return Rows(path, [row for part in parts for row in part.rows], digest)


def _read_hub(path: str) -> Rows:
    return _read_dataset(path, lambda datasets: datasets.load_dataset(path))


def _read_dataset(path: str, load: Callable[[Any], Any]) -> Rows:
    import datasets

    try:
        found = load(datasets)
    except Exception as error:  # whatever the library, the file systems or the network raise: the user hears one line
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: no file here, and the hub gave no data set ({text}); next: ls {path}") from None
    if isinstance(found, Mapping):
        if "train" not in found and len(found) != 1:
            raise DataError(f"{path}: expected a split called train, got {', '.join(map(str, found))}")
        found = found["train"] if "train" in found else next(iter(found.values()))
    values = list(found)
    digest = hashlib.sha256()
    for value in values:
        digest.update(json.dumps(value, sort_keys=True, default=str).encode())
    return Rows(path, [Row(f"{path}:{n}", v) for n, v in enumerate(values, start=1)], digest.hexdigest())


def write_jsonl(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object a line, UTF-8, so that the file is there whole or not at all.

    Raises: ValueError for a NaN or infinite number, which JSON does not have.
    """
    place = Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = place.with_name(f".{place.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            for row in rows:
                file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(place)
    finally:
        temporary.unlink(missing_ok=True)


def sha256_file(path: str | Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
