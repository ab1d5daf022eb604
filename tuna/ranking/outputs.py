"""Where a collection writes, whether it may, and the last line: the command that goes on with what was written."""

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuna.config.commands import Unsayable, command, typed_fields
from tuna.console import as_typed
from tuna.data.files import sha256_file
from tuna.errors import ConfigError, RunError
from tuna.ranking.settings import Settings
from tuna.runs import check_writable, read_json, write_json

if TYPE_CHECKING:
    from tuna.models.source import ModelConfig

_WRITTEN = "written.json"  # in the store: the hash of each output that was written, noted before it got its name


class OutputPaths:
    """What lies beside an output ``NAME.jsonl``; store: answers, verdicts, ledger, lock."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.store, self.unusable, self.report, self.figure = (
            output.with_name(output.stem + ending)
            for ending in (".store", ".unusable.jsonl", ".report.json", ".report.png")
        )

    @staticmethod
    def of(settings: Settings, name: str) -> "OutputPaths":
        """The places of a collection that is called ``name`` unless ``output`` says otherwise."""
        output = Path(settings.output) if settings.output else Path(settings.folder) / f"{settings.name or name}.jsonl"
        index, count = settings.part
        if count > 1:
            output = output.with_name(f"{output.stem}.shard-{index}-of-{count}.jsonl")
        return OutputPaths(output)

    @property
    def files(self) -> tuple[Path, ...]:
        """All but the store."""
        return self.output, self.unusable, self.report, self.figure


def check_places(places: OutputPaths, source: str | None, *, dry_run: bool = False) -> None:
    """Check all places of an output before anything is asked or paid for; a dry run leaves not even a folder behind.
    Raises ConfigError where a place is the ``source`` that is read, or holds what rank.py did not make or somebody has
    changed since. RunError: it cannot be written to.
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
    known = _known(places.store) or []
    write_json(places.store / _WRITTEN, {"sha256": [*known, sha256] if sha256 not in known else known})


def readable(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is none that can be read."""
    try:
        return read_json(path)
    except RunError:
        return {}


def _known(store: Path) -> list[Any] | None:
    """The hashes of the outputs that were written with this store; None where nothing says them."""
    found = readable(store / _WRITTEN).get("sha256")
    return found if isinstance(found, list) else None


def _refuse_source(places: OutputPaths, source: str | None) -> None:
    if source is None or not (read := Path(source).expanduser()).exists():  # the embedded file, or a hub id
        return
    for path in places.files:
        if path.exists() and path.samefile(read):
            raise ConfigError(
                f"output: {path} is input={source} itself, which would be replaced; {_next(places.output)}"
            )
        if read.is_dir() and path.parent.exists() and path.parent.samefile(read):
            beside = read.absolute().with_name(f"{read.absolute().name}-ranked.jsonl")
            raise ConfigError(
                f"output: {path} lies in the folder input={source}, whose files are all read the next time; "
                f"{_next(beside)}"
            )


def _refuse_foreign(places: OutputPaths) -> None:
    """A store or a report beside an output says that rank.py made it, and their hashes whether it is still the same."""
    report, store = readable(places.report), places.store
    begun = (store / "identity.json").is_file()
    made = begun or (store / ".lock").exists() or any(store.glob("*.jsonl"))  # or a run that did not come far
    foreign = [store] if store.is_dir() and any(store.iterdir()) and not made else []
    if not begun and not isinstance(report.get("output_sha256"), str):
        foreign += [path for path in places.files if os.path.lexists(path) and not path.is_dir()]
    if foreign:
        raise ConfigError(f"output: {foreign[0]} is there and rank.py did not make it; {_next(places.output)}")
    known = _known(store)
    if begun and known is None:  # the store of an older version, which a kill may have left without a report
        return
    if places.output.is_file() and sha256_file(places.output) not in [report.get("output_sha256"), *(known or [])]:
        kept = shlex.quote(f"{places.output}.mine")
        raise ConfigError(
            f"output: {places.output} was changed since rank.py wrote it, and would be replaced; next: "
            f"mv {shlex.quote(str(places.output))} {kept}, and the same command again"
        )


def _try(places: OutputPaths) -> None:
    """Make the folder, and for a moment a file under the longest name that each will take."""
    places.output.parent.mkdir(parents=True, exist_ok=True)
    for path in places.files:
        if path.is_dir():
            raise RunError(f"output: {path} is a folder, where a file has to be written; {_next(places.output)}")
        trial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        trial.touch()
        trial.unlink()
    if places.store.exists() and not places.store.is_dir():
        raise RunError(f"output: {places.store} is a file, where a folder has to be made; {_next(places.output)}")


def _next(output: Path) -> str:
    """The way out: another name, like the output's, under which nothing is there."""
    stem = re.sub(r"\.shard-\d+-of-\d+$", "", output.stem)
    number = 2
    while any(other.name.startswith(f"{stem}-{number}.") for other in output.parent.glob("*")):
        number += 1
    return f"next: the same command with {shlex.quote(f'output={output.with_name(stem)}-{number}.jsonl')}"


def next_line(
    places: OutputPaths, settings: Settings, ranker: str, rows: Sequence[dict[str, Any]], tuned: "ModelConfig | None"
) -> str:
    """What to do with the ranked lists of one collection. tuned: the model that they are for; None where unknown."""
    if settings.part[1] > 1:
        return _merge_line(places, settings)
    if not any(len({answer["score"] for answer in row["responses"]}) > 1 for row in rows):
        return "all answers of each list are tied, so there is nothing to train on; another judge or model may differ"
    values: dict[str, Any] = {"stage": "tuna_p" if ranker == "probabilistic" else "tuna_c"}
    if tuned is not None:
        values |= {"model.path": tuned.path, **typed_fields(tuned, "model")}
    values["datamodule.path"] = str(places.output)
    if any("output" not in row for row in rows):
        values["datamodule.original"] = "best"  # training wants an original response
    try:
        train = command("train.py", values)
    except Unsayable as key:
        return f"to go on: stage={values['stage']}, with {key} in a file, since no command line can hold its value"
    return f"to go on: {train}, with model.path= of the model to be tuned" if tuned is None else f"next: {train}"


def _merge_line(places: OutputPaths, settings: Settings) -> str:
    """The command that joins the parts once all are there and whole."""
    total, name = settings.part[1], places.output.name.partition(".shard-")[0]
    parts = [OutputPaths.of(replace(settings, shard=f"{k}/{total}"), name) for k in range(1, total + 1)]
    output = OutputPaths.of(replace(settings, shard=None), name).output
    left = sum(not part.output.exists() or read_json(part.report).get("missing") != 0 for part in parts)
    if left:
        return f"shard {settings.shard}: {left} other parts are to be collected before the merge"
    if output.exists():
        return f"all {total} parts are there; {output} is too, so a merge needs another name"
    files = [str(output), *(str(part.output) for part in parts)]
    return as_typed(f"next: python rank.py merge {shlex.join(files)}")
