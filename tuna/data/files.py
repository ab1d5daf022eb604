"""Rows from files, folders of them and hub data sets, of one split; atomic JSONL writing; content hashes."""

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from shlex import quote
from typing import Any

from tuna.data.fields import describe
from tuna.data.rows import Row, numbered, parse_rows
from tuna.errors import DataError
from tuna.files import replacing
from tuna.secrets import dumps

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")

_SHARD = re.compile(r"[-_.]\d+-of-\d+$")
_NUMBER = re.compile(r"[-_.]?\d+$")
_FIRST_WORDS = {"train", "training", "test", "testing", "validation", "valid", "val", "dev", "eval", "evaluation"}


@dataclass(frozen=True, slots=True)
class Rows:
    """All rows of one path, in order."""

    rows: list[Row]
    sha256: str  # of their content, never of the path
    note: str = ""  # which split this is, where the path has others


def read_rows(path: str, split: str | None = None, subset: str | None = None, *, key: str = "") -> Rows:
    """Read a JSONL, JSON (one list), CSV, TSV or Parquet file, a folder of such files, or a hub data set "owner/name".

    Lines of a JSONL, CSV or TSV file that cannot be read become rows with a ``problem``; blank lines are skipped.

    split: of a hub data set, a folder that ``datasets`` saved, or a folder whose files are named after splits; see
    ``pick``. subset: a hub data set's configuration. key: the config key that names the path, for messages; "": none.

    Raises: DataError when there is no such path or split, nothing in it, or the file as a whole cannot be read.
    """
    try:
        place = Path(path).expanduser()
        local = place.exists()
    except (OSError, RuntimeError, ValueError) as error:  # no permission, too long; ~ of nobody; a NUL in it
        named = f"{key}={path!r}" if key else repr(path)
        raise DataError(f"{named}: cannot be looked at ({error}); give another path") from None
    if subset is not None and local:
        raise DataError(f"{key_beside(key, 'subset')}: expected a hub data set owner/name beside it, got {path}")
    if place.is_dir():
        found = _read_folder(path, place, split, key)
    elif place.is_file():
        if split not in (None, place.stem, split_of(place.stem)):
            raise _no_splits(path, "file", split, key)
        found = _read_file(path, place)
    elif is_hub_id(path):
        found = _from_datasets(path, None, split, subset, key)
    else:
        raise DataError(_missing(path, key))
    if not found.rows:
        raise DataError(f"{path}: expected one row or more, got an empty {'folder' if place.is_dir() else 'file'}")
    return found


def is_hub_id(path: str) -> bool:
    """Whether a path that does not exist reads as "owner/name" on the hub rather than as a file gone missing."""
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", path) or path.lower().endswith(SUFFIXES):
        return False
    return not Path(path.split("/")[0]).is_dir()


def _missing(path: str, key: str) -> str:
    place = Path(path).expanduser().absolute()
    folder = next(p for p in place.parents if p.is_dir())
    wanted = place.relative_to(folder).parts[0]  # the first part that is not there
    entries = [entry for entry in folder.iterdir() if entry.suffix.lower() in SUFFIXES or entry.is_dir()]
    stems = {entry.stem: entry.name for entry in sorted(entries, reverse=True)}
    near = get_close_matches(Path(wanted).stem, stems, n=1, cutoff=0.5)
    if near:
        found = folder / stems[near[0]]
        step = quote(f"{key}={found}") if key else "the same command with that one"
        return f"{path}: no such file; nearest: {found}; next: {step}"
    return f"{path}: no such file or folder, and no hub id owner/name; next: ls {quote(str(folder))}"


def _read_file(path: str, place: Path) -> Rows:
    try:
        data = place.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    return Rows(parse_rows(path, data), hashlib.sha256(data).hexdigest())


def _read_folder(path: str, place: Path, split: str | None, key: str) -> Rows:
    if (place / "state.json").is_file() or (place / "dataset_dict.json").is_file():
        return _from_datasets(path, place, split, None, key)
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
    return Rows([row for part in parts for row in part.rows], digest, _split_note(path, chosen, names))


def _from_datasets(path: str, place: Path | None, split: str | None, subset: str | None, key: str) -> Rows:
    """A data set that ``datasets`` saved at ``place``, else of the hub."""
    import datasets

    try:
        found = datasets.load_dataset(path, subset) if place is None else datasets.load_from_disk(str(place))
    except Exception as error:  # whatever the library, the file systems or the network raise: the user hears one line
        # Where the configuration is missing or unknown, it lists those that there are.
        listed = re.search(r"onfig.*?\[(.+?)\]", str(error), re.DOTALL) if isinstance(error, ValueError) else None
        if listed and place is None:
            names = re.findall(r"'([^']+)'", listed[1])
            raise _no_such(path, "configuration", names, subset, "default", key_beside(key, "subset")) from None
        fault = "no file here, and the hub gave no data set" if place is None else "datasets cannot read it"
        text = str(error).partition("\n")[0] or type(error).__name__
        raise DataError(f"{path}: {fault} ({text}); next: ls {quote(path)}") from None
    note = ""
    if isinstance(found, Mapping):
        chosen = pick(path, list(found), split, key)
        found, note = found[chosen], _split_note(path, chosen, found)
    elif split is not None:
        raise _no_splits(path, "data set", split, key)
    values = list(found)
    digest = hashlib.sha256()
    for value in values:
        digest.update(json.dumps(value, sort_keys=True, default=str).encode())
    return Rows(numbered(path, values), digest.hexdigest(), note)


def key_beside(key: str, name: str) -> str:
    """The config key ``name`` that says how the path is read that the config key ``key`` names; "" where the command
    has none. A file that is held out shares the others' but for its split.

    >>> [key_beside(key, "split") for key in ("datamodule.sources[1].path", "datamodule.val_path", "input")]
    ['datamodule.sources[1].split', 'datamodule.val_split', 'input_split']
    >>> [key_beside(key, "format") for key in ("datamodule.val_path", "input", "benchmark.path")]
    ['datamodule.format', '', '']
    """
    if key == "input":
        return f"input_{name}" if name in ("split", "subset", "columns") else ""
    if key.startswith("benchmark."):
        return f"benchmark.{name}" if name == "rank_by" else ""
    key = "datamodule.path" if key == "datamodule.val_path" and name != "split" else key
    return key.removesuffix("path") + name if key.endswith("path") else ""


def split_of(stem: str) -> str:
    """The split that a file's name tells, without its ending; "" where it tells none.

    >>> split_of("train_prefs-00000-of-00002"), split_of("test"), split_of("val-3"), split_of("helpful_2")
    ('train_prefs', 'test', 'val', '')
    """
    bare = _SHARD.sub("", stem)
    if bare != stem:
        return bare
    bare = _NUMBER.sub("", stem)
    return bare if re.split(r"[-_.]", bare)[0].lower() in _FIRST_WORDS else ""


def pick(path: str, names: Collection[str], wanted: str | None, key: str) -> str:
    """The split ``wanted``, else "train" or the only one. Raises: DataError that lists them and the key to set."""
    chosen = wanted or ("train" if "train" in names or len(names) != 1 else next(iter(names)))
    if chosen not in names:
        raise _no_such(path, "split", names, wanted, "train_prefs", key_beside(key, "split"))
    return chosen


def _split_note(path: str, chosen: str, names: Iterable[str]) -> str:
    others = sorted(set(names) - {chosen})
    return f"{path}: split {chosen} is read, {', '.join(others)} not" if chosen and others else ""


def _no_splits(path: str, what: str, split: str | None, key: str) -> DataError:
    return DataError(f"{path}: one {what} has no splits; next: leave {key_beside(key, 'split')}={split} away")


def _no_such(path: str, what: str, names: Iterable[str], wanted: str | None, usual: str, key: str) -> DataError:
    choices = sorted(names)
    near = get_close_matches(wanted or usual, choices, n=1, cutoff=0) or [*choices, ""]
    expected = f"expected the name of a {what}, one of {', '.join(choices)}"
    step = f"{key}={near[0]}" if key else "a file of one of them alone"
    return DataError(f"{path}: {expected}, got {describe(wanted)}; next: {step}")


def write_jsonl(
    path: str | Path, rows: Iterable[Mapping[str, Any]], *, ready: Callable[[str], object] | None = None
) -> None:
    """Write one JSON object per line, UTF-8, without secrets, so that the file is there whole or not at all.

    ready: told of the file's SHA-256 before it gets its name. Raises: ValueError for a NaN or infinite number.
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
