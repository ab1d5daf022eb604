"""Whether a collection may write where it is told to: what is there has to be its own, and the rest needs room."""

import os
import re
import shlex
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from tuna.data.files import sha256_file
from tuna.errors import ConfigError, RunError
from tuna.ranking.settings import OutputPaths
from tuna.runs import check_writable, read_json, write_json

_WRITTEN = "written.json"  # in the store: the hash of each output that was written, noted before it got its name


def check_places(places: OutputPaths, source: str | None, *, dry_run: bool = False) -> None:
    """Check all places of an output before anything is asked or paid for.

    source: what is read. dry_run: leave nothing behind, not even a folder.

    Raises:
        ConfigError: a place is what is read, or holds what rank.py did not make or somebody has changed since.
        RunError: a place cannot be written to.
    """
    try:
        _refuse_source(places, source)
        _refuse_foreign(places)
        if dry_run:
            check_writable(places.output.parent, "output")
        else:
            _try(places)
    except OSError as error:
        raise RunError(
            f"output: cannot write to {error.filename or places.output} ({error.strerror}); choose another output=..."
        ) from None


def note_written(places: OutputPaths, sha256: str) -> None:
    """Remember that the output with this hash is the collection's own; a kill may come before its report is there."""
    path = places.store / _WRITTEN
    known = _object(path).get("sha256", [])
    write_json(path, {"sha256": [*known, sha256] if sha256 not in known else known})


def _files(places: OutputPaths) -> tuple[Path, ...]:
    return places.output, places.unusable, places.report, places.figure


def _refuse_source(places: OutputPaths, source: str | None) -> None:
    read = None if source is None else Path(source).expanduser()
    if read is None or not read.exists():  # the embedded file, or a hub id
        return
    for path in _files(places):
        if path.exists() and path.samefile(read):
            raise ConfigError(f"output: {path} is input={source} itself, which would be replaced; {_next(places)}")
        if read.is_dir() and path.parent.exists() and path.parent.samefile(read):
            beside = read.absolute().with_name(f"{read.absolute().name}-ranked.jsonl")
            raise ConfigError(
                f"output: {path} lies in the folder input={source}, whose files are all read the next time; "
                f"{_next(OutputPaths(beside))}"
            )


def _refuse_foreign(places: OutputPaths) -> None:
    """A store or a report beside an output says that rank.py made it, and their hashes whether it is still the same."""
    report = _object(places.report)
    begun = (places.store / "identity.json").is_file()
    if places.store.is_dir() and any(places.store.iterdir()) and not (begun or _is_store(places.store)):
        raise ConfigError(f"output: {places.store} is there and rank.py did not make it; {_next(places)}")
    mine = begun or isinstance(report.get("output_sha256"), str)
    for path in _files(places):
        if os.path.lexists(path) and not path.is_dir() and not mine:
            raise ConfigError(f"output: {path} is there and rank.py did not make it; {_next(places)}")
    known = _object(places.store / _WRITTEN).get("sha256")
    if begun and known is None:  # the store of an older version, which a kill may have left without a report
        return
    if places.output.is_file() and sha256_file(places.output) not in [report.get("output_sha256"), *(known or [])]:
        kept = shlex.quote(f"{places.output}.mine")
        raise ConfigError(
            f"output: {places.output} was changed since rank.py wrote it, and would be replaced; next: "
            f"mv {shlex.quote(str(places.output))} {kept}, and the same command again"
        )


def _is_store(folder: Path) -> bool:
    """Whether a run was at work there, though it did not come far."""
    return (folder / ".lock").exists() or any(folder.glob("*.jsonl"))


def _object(path: Path) -> dict[str, Any]:
    """The object in a file; empty where there is none that can be read."""
    try:
        return read_json(path)
    except (RunError, OSError, TypeError, ValueError):
        return {}


def _try(places: OutputPaths) -> None:
    """Make the folder, and for a moment a file under the longest name that each will take."""
    places.output.parent.mkdir(parents=True, exist_ok=True)
    for path in _files(places):
        if path.is_dir():
            raise RunError(f"output: {path} is a folder, where a file has to be written; {_next(places)}")
        trial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        trial.touch()
        trial.unlink()
    if places.store.exists() and not places.store.is_dir():
        raise RunError(f"output: {places.store} is a file, where a folder has to be made; {_next(places)}")


def _next(places: OutputPaths) -> str:
    return f"next: the same command with {shlex.quote(f'output={next(_free(places.output))}')}"


def _free(output: Path) -> Iterator[Path]:
    """Names like the output's under which nothing is there."""
    stem = re.sub(r"\.shard-\d+-of-\d+$", "", output.stem)
    for number in count(2):
        path = output.with_name(f"{stem}-{number}.jsonl")
        if not any(other.name.startswith(f"{path.stem}.") for other in output.parent.glob("*")):
            yield path
