"""Rows from JSONL, JSON, CSV, TSV, Parquet, folders of them and hub data sets; atomic JSONL writing; content hashes."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Any

from tuna.data.delimited import read_delimited
from tuna.data.fields import parse_json
from tuna.data.splits import beside, pick, split_of
from tuna.errors import DataError
from tuna.files import replacing
from tuna.secrets import dumps

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it stands in the file. ``problem`` is set when it could not be read at all."""

    where: str  # "file:line" in JSONL, CSV and TSV, "file:row" (from 1) elsewhere
    value: Any
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Rows:
    """All rows of one path, in order, and the hash of their content (never of the path).

    note: which split this is, where the path has others.
    """

    path: str
    rows: list[Row]
    sha256: str
    note: str = ""


def read_rows(path: str, split: str | None = None, subset: str | None = None, *, key: str = "datamodule.path") -> Rows:
    """Read a JSONL, JSON (one list), CSV, TSV or Parquet file, a folder of such files, or a hub data set "owner/name".

    Lines of a JSONL, CSV or TSV file that cannot be read become rows with a ``problem``; blank lines are skipped.

    split: of a hub data set, a folder that ``datasets`` saved, or a folder whose files are named after splits; None is
    "train", or the only one. subset: a hub data set's configuration. key: the config key that names the path, for
    messages.

    Raises: DataError when there is no such path or split, nothing in it, or the file as a whole cannot be read.
    """
    place, local = _place(path, key)
    if subset is not None and local:
        raise DataError(f"{beside(key, 'subset')}: expected a hub data set owner/name beside it, got {path}")
    if place.is_dir():
        found = _read_folder(path, place, split, key)
    elif place.is_file():
        if split is not None and split not in (place.stem, split_of(place.stem)):
            raise DataError(f"{path}: one file has no splits; next: leave {beside(key, 'split')}={split} away")
        found = _read_file(path, place)
    elif is_hub_id(path):
        found = _read_hub(path, split, subset, key)
    else:
        raise DataError(_missing(path, key))
    if not found.rows:
        raise DataError(f"{path}: expected one row or more, got an empty {'folder' if place.is_dir() else 'file'}")
    return found


def _place(path: str, key: str) -> tuple[Path, bool]:
    """The path, and whether anything is there."""
    try:
        place = Path(path).expanduser()
        return place, place.exists()
    except (OSError, RuntimeError, ValueError) as error:  # no permission, too long; ~ of nobody; a NUL in it
        raise DataError(f"{key}={path!r}: cannot be looked at ({error}); give another path") from None


def is_hub_id(path: str) -> bool:
    """Whether a path that does not exist reads as "owner/name" on the hub rather than as a file gone missing."""
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", path) or path.lower().endswith(SUFFIXES):
        return False
    return not Path(path.split("/")[0]).is_dir()


def _missing(path: str, key: str) -> str:
    place = Path(path).expanduser().absolute()
    folder = next(p for p in place.parents if p.is_dir())
    wanted = place.relative_to(folder).parts[0]  # the first part that is not there
    stems = {entry.stem: entry.name for entry in sorted(folder.iterdir(), reverse=True)}
    near = get_close_matches(Path(wanted).stem, stems, n=1, cutoff=0.5)
    if near:
        found = folder / stems[near[0]]
        return f"{path}: no such file; nearest: {found}; next: {quote(f'{key}={found}')}"
    return f"{path}: no such file or folder, and no hub id owner/name; next: ls {quote(str(folder))}"


def _read_file(path: str, place: Path) -> Rows:
    try:
        data = place.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    if is_pointer(data):
        raise DataError(f"{path}: expected the data, got a Git-LFS pointer to it; next: git lfs pull, where it lies")
    if data[:2] == b"\x1f\x8b":
        raise DataError(f"{path}: expected JSONL, JSON, CSV, TSV or Parquet, got gzip; next: gunzip {path}")
    reader = _reader(place.suffix.lower(), data)
    return Rows(
        path, reader(path, data) if data.removeprefix(b"\xef\xbb\xbf").strip() else [], hashlib.sha256(data).hexdigest()
    )


def _reader(suffix: str, data: bytes) -> Callable[[str, bytes], list[Row]]:
    """By content before name: a JSON list called .jsonl, or JSON lines called .json, are read as what they are."""
    if data[:4] == b"PAR1" or suffix == ".parquet":
        return _parquet
    head = data[:64].removeprefix(b"\xef\xbb\xbf").lstrip()
    if head.startswith(b"["):
        return _json
    if suffix in (".csv", ".tsv") and not head.startswith(b"{"):
        return partial(_delimited, tabs=suffix == ".tsv")
    return _jsonl


def is_pointer(head: bytes) -> bool:
    """Whether a file that begins so is what Git leaves in place of a large file until ``git lfs pull``."""
    return head.startswith(b"version https://git-lfs.github.com/spec/")


def _decode(path: str, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}:{line}: expected UTF-8 text (JSONL, JSON, CSV, TSV) or Parquet, got other bytes"
        ) from None


def _jsonl(path: str, data: bytes) -> list[Row]:
    rows = []
    # Only \n ends a line: str.splitlines would also split at U+2028 inside a string.
    for number, line in enumerate(_decode(path, data).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            rows.append(Row(where, parse_json(line)))
        except ValueError as error:
            rows.append(Row(where, None, f"line: expected JSON, got {_excerpt(line)} ({error})"))
    return rows


def _excerpt(line: str) -> str:
    return repr(line if len(line) <= 40 else line[:30] + "...")


def _json(path: str, data: bytes) -> list[Row]:
    text = _decode(path, data)
    try:
        values = parse_json(text)
    except ValueError as error:
        line = getattr(error, "lineno", 1)
        raise DataError(f"{path}:{line}: expected a JSON list of objects, got broken JSON ({error})") from None
    return [Row(f"{path}:{number}", value) for number, value in enumerate(values, start=1)]


def _delimited(path: str, data: bytes, *, tabs: bool) -> list[Row]:
    parsed = read_delimited(path, _decode(path, data), tabs=tabs)
    return [Row(f"{path}:{line}", value, problem) for line, value, problem in parsed]


def _parquet(path: str, data: bytes) -> list[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        values = pq.read_table(pa.BufferReader(data)).to_pylist()
    except Exception as error:  # Arrow's own, and OSError, UnicodeDecodeError, OverflowError of damaged pages
        told = str(error).partition("\n")[0] or type(error).__name__
        raise DataError(f"{path}: expected a Parquet file, got one that cannot be read ({told})") from None
    return [Row(f"{path}:{number}", value) for number, value in enumerate(values, start=1)]


def _read_folder(path: str, place: Path, split: str | None, key: str) -> Rows:
    if (place / "state.json").is_file() or (place / "dataset_dict.json").is_file():
        found = _from_datasets(lambda datasets: datasets.load_from_disk(str(place)), f"{path}: datasets cannot read it")
        return _dataset_rows(path, found, split, key)
    files = sorted(p for p in place.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
    if not files:
        raise DataError(f"{path}: expected a folder with {', '.join(SUFFIXES)} files, got none; next: ls {quote(path)}")
    names = {name for p in files if (name := split_of(p.stem))}
    chosen = ""
    if split is not None or len(names) > 1:  # training on what is kept for testing would pass unseen
        chosen = pick(path, names or {p.stem for p in files}, split, key)
        files = [p for p in files if chosen in (split_of(p.stem), p.stem)]
    parts = [_read_file(str(p), p) for p in files]
    digest = hashlib.sha256("".join(part.sha256 for part in parts).encode()).hexdigest()
    return Rows(path, [row for part in parts for row in part.rows], digest, _split_note(path, chosen, names))


def _split_note(path: str, chosen: str, names: Iterable[str]) -> str:
    others = sorted(set(names) - {chosen})
    return f"{path}: split {chosen} is read, {', '.join(others)} not" if chosen and others else ""


def _read_hub(path: str, split: str | None, subset: str | None, key: str) -> Rows:
    def load(datasets: Any) -> Any:
        try:
            return datasets.load_dataset(path, subset)
        except ValueError as error:
            _check_subset(path, subset, str(error), key)
            raise

    found = _from_datasets(load, f"{path}: no file here, and the hub gave no data set")
    return _dataset_rows(path, found, split, key)


def _check_subset(path: str, subset: str | None, message: str, key: str) -> None:
    """Raises: DataError where ``datasets`` says that the configuration is missing or unknown, and which there are."""
    listed = re.search(r"onfig.*?\[(.+?)\]", message, re.DOTALL)
    if listed:
        names = re.findall(r"'([^']+)'", listed[1])
        got = "nothing" if subset is None else repr(subset)
        near = get_close_matches(subset or "default", names, n=1, cutoff=0) or names
        raise DataError(
            f"{path}: expected the name of a configuration, one of {', '.join(names)}, got {got}; "
            f"next: {beside(key, 'subset')}={near[0]}"
        ) from None


def _from_datasets(load: Callable[[Any], Any], fault: str) -> Any:
    import datasets

    try:
        return load(datasets)
    except DataError:
        raise
    except Exception as error:  # whatever the library, the file systems or the network raise: the user hears one line
        text = str(error).partition("\n")[0] or type(error).__name__
        raise DataError(f"{fault} ({text}); next: ls {quote(fault.partition(':')[0])}") from None


def _dataset_rows(path: str, found: Any, split: str | None, key: str) -> Rows:
    note = ""
    if isinstance(found, Mapping):
        names = list(map(str, found))
        chosen = pick(path, names, split, key)
        found, note = found[chosen], _split_note(path, chosen, names)
    elif split is not None:
        raise DataError(f"{path}: one data set has no splits; next: leave {beside(key, 'split')}={split} away")
    values = list(found)
    digest = hashlib.sha256()
    for value in values:
        digest.update(json.dumps(value, sort_keys=True, default=str).encode())
    return Rows(path, [Row(f"{path}:{n}", v) for n, v in enumerate(values, start=1)], digest.hexdigest(), note)


def write_jsonl(
    path: str | Path, rows: Iterable[Mapping[str, Any]], *, ready: Callable[[str], object] | None = None
) -> None:
    """Write one JSON object a line, UTF-8, without secrets, so that the file is there whole or not at all.

    ready: told of the whole file's SHA-256 before it gets its name.

    Raises: ValueError for a NaN or infinite number, which JSON does not have.
    """
    place = Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    with replacing(place) as file:
        for row in rows:
            file.write(dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
        if ready is not None:
            file.flush()
            ready(sha256_file(file.name))


def sha256_file(path: str | Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
