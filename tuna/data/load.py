"""Sources to records: read, cut the range, import, find the original responses, check; all faults said at once."""

import base64
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from tuna.assets import is_asset
from tuna.console import shortened
from tuna.data.columns import check_present, format_of, mapped_row
from tuna.data.fields import FieldError, check_text
from tuna.data.files import key_beside, read_rows
from tuna.data.importers import Imported, Importer, choose, records
from tuna.data.ranking import COLLECT, check_rankable
from tuna.data.record import Record
from tuna.data.rows import Row
from tuna.errors import DataError, Faults

SHOWN = 20
BAD_ROW = "bad row: "  # how the reason of one begins
_PLACE = re.compile(r"^.*?:\d+: ")  # of a row: path:line
_NAMED = re.compile(r"datamodule\.(\w+)")  # a key of train.py's in a hint
# What JSON cannot hold, what is done with it, and how.
_CHANGES: tuple[tuple[Any, str, Callable[[Any], Any]], ...] = (
    (float, "numbers that are not finite are null", lambda value: None),
    ((date, time), "dates and times are ISO text", lambda value: value.isoformat()),
    (timedelta, "durations are seconds", timedelta.total_seconds),
    (Decimal, "decimals are text", str),
    ((bytes, bytearray), "bytes are base64", lambda value: base64.b64encode(value).decode()),
)


@dataclass(frozen=True, slots=True)
class Source:
    """One path, with the rule that orders its lists and the range of rows that is read."""

    path: str
    rank_by: str | None = "score"  # or "eq3", or None where nothing is ranked (SFT)
    first: int | None = None  # this many rows from the start of the file; None: all
    last: int | None = None  # from its end
    format: str = "auto"
    original: str = "error"  # or best, none, or a FILE of Alpaca rows
    split: str | None = None  # of a data set that has several, as subset
    subset: str | None = None
    columns: Mapping[str, Any] | None = None  # see tuna.data.columns
    weight: float = 1.0  # how often per epoch each list is trained on
    key: str = "datamodule.path"  # the config key that names the path, for messages


@dataclass(slots=True)
class Loaded:
    """The records of one source, in file order."""

    source: Source
    records: list[Record] = field(default_factory=list)
    original_best: bool = False  # records without output take their best candidate as original (or target)
    rows: int = 0  # rows within the range
    format: str = ""
    sha256: str = ""
    problems: list[str] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)


_ahead: dict[str, list[Loaded]] = {}  # what read_ahead has read


def read_ahead(sources: Sequence[Source], bad_rows: str | None) -> None:
    """``load_sources`` now, for the next one who asks it for the same while the files are the same."""
    _ahead.clear()
    _ahead[_asked(sources, bad_rows)] = load_sources(sources, bad_rows)


def _asked(sources: Sequence[Source], bad_rows: str | None) -> str:
    paths = [Path(source.path).expanduser() for source in sources]
    states = [path.stat().st_mtime_ns if path.exists() else None for path in paths]
    return repr((list(sources), bad_rows, states))


def load_sources(sources: Sequence[Source], bad_rows: str | None = None) -> list[Loaded]:
    """Read all sources; with bad_rows="drop" malformed rows are left out and counted in ``reasons``.

    bad_rows: None where the caller has no such key. Raises: DataError that lists the malformed rows of all sources,
    or ConfigError with what else is wrong with them.
    """
    if _ahead and (asked := _asked(sources, bad_rows)) in _ahead:
        return _ahead.pop(asked)
    faults, found = Faults(), list[Loaded]()
    for source in sources:
        with faults.kept():
            found.append(load_source(source))
    problems = [problem for loaded in found for problem in loaded.problems]
    with faults.kept():
        if problems and bad_rows != "drop":
            raise DataError(problem_text(problems, ", or datamodule.bad_rows=drop" if bad_rows else ""))
    faults.check()
    empty = [f"{loaded.source.path}: no usable row is left of {loaded.rows}" for loaded in found if not loaded.records]
    if empty:
        raise DataError("\n".join(empty + _listed(problems)))
    return found


def problem_text(problems: Sequence[str], otherwise: str = "") -> str:
    """All faults of the rows, one per line, the list cut at 20. otherwise: what else than mending them can be done."""
    count = f"{len(problems)} malformed row{'s' if len(problems) > 1 else ''}"
    return "\n".join([*_listed(problems), f"{count}; next: mend them{otherwise}"])


def _listed(problems: Sequence[str]) -> list[str]:
    """The first 20; a fault that more than three rows have stands once, so that it hides no other."""
    found: dict[str, list[int]] = {}
    for place, problem in enumerate(problems):
        found.setdefault(_PLACE.sub("", problem), []).append(place)
    lines = dict(enumerate(problems))
    for first, *others in (places for places in found.values() if len(places) > 3):
        lines[first] += f" ({len(others):,} more rows are like it)"
        for place in others:
            del lines[place]
    return shortened(list(lines.values()), SHOWN)


def counted(reasons: Mapping[str, int]) -> str:
    """Reasons with how often each came, in one line."""
    return ", ".join(f"{reason}: {n}" for reason, n in sorted(reasons.items()))


def load_source(source: Source, *, preview: bool = False) -> Loaded:
    """Read one source. Malformed rows go to ``problems``, the rest to ``records``.

    preview: read it to show it, not to train on it. Its rule is then what the responses carry, scores or
    log-probabilities (None where no row has two responses), and a missing original response is a note and no fault.
    """
    loaded, importer, imported = _import(source)
    if preview:
        loaded.source = replace(source, rank_by=_rule_in(imported))
    rank_by = loaded.source.rank_by
    rule = importer.original if source.original == "error" else source.original
    loaded.original_best = rule == "best"
    originals: dict[str, Record] | None = None
    if rule not in ("error", "best", "none"):
        (file,) = load_sources([Source(rule, None, format="alpaca", key="datamodule.original")])
        originals = {record.id: record for record in file.records}

    def check(record: Record) -> Record:
        if record.output is None and originals is not None:
            record = replace(record, output=_original(record, originals, rule))
        # Without a ranking the best candidate has to be known by its score.
        scored = any(c.score is not None for c in record.responses)
        may_lack = rule != "error" if rank_by else rule == "best" and scored
        if record.output is None and not may_lack and not (preview and source.original == "error"):
            raise FieldError("output", "the original response (a string)", None, _hint(record, rank_by, scored))
        if rank_by is not None:
            check_rankable(record, rank_by)
        return record

    if rank_by == "score" and not preview and source.key.startswith("datamodule.") and _unmarked(imported):
        raise DataError(
            f"{source.path}: no answer has a score, so there is no ranking to learn from; next: python rank.py "
            f"input={source.path} score_only=true judge=openai judge.model=NAME ranks them, or stage=sft needs none"
        )
    if importer.join is not None and rank_by is not None:  # a list joined of one row has no pair, and is no fault
        lists = [(where, found) for where, found in imported if not _single(found)]
        loaded.reasons += Counter({"list with one answer": len(imported) - len(lists)})
        imported = lists
    _keep(loaded, imported, check)
    missing = sum(record.output is None for record in loaded.records)
    if missing and loaded.original_best and rank_by is None:
        loaded.notes.append(f"{source.path}: lists without output whose best response is the target: {missing}")
    elif missing and preview and not loaded.original_best:
        loaded.notes.append(f"output, the original response: {missing} of {len(loaded.records)} rows have none")
    return loaded


def _rule_in(imported: Sequence[Imported]) -> str | None:
    lists = [found.responses for _, found in imported if isinstance(found, Record) and len(found.responses) > 1]
    candidates = [c for responses in lists for c in responses]
    if any(c.score is not None for c in candidates) or all(c.logprob is None for c in candidates):
        return "score" if candidates else None
    return "eq3"


def _original(record: Record, originals: Mapping[str, Record], path: str) -> str | None:
    found = originals.get(record.id)
    if found is None:
        raise FieldError("id", f"the id of a row of {path}", record.id)
    # Another instruction: the wrong file, or shifted ids.
    if " ".join(found.instruction.split()) not in " ".join(record.instruction.split()):
        raise FieldError("id", f"the same instruction as row {found.id} of {path}", record.instruction)
    return found.output


def _unmarked(imported: Sequence[Imported]) -> bool:
    """Whether there are answers to choose from, and none of them has a score or a log-probability."""
    lists = [found.responses for _, found in imported if isinstance(found, Record) and len(found.responses) > 1]
    return bool(lists) and all(c.score is None and c.logprob is None for responses in lists for c in responses)


def _single(found: Record | FieldError) -> bool:
    return isinstance(found, Record) and len(found.responses) == 1 and not found.extra.get("dropped")


def _hint(record: Record, rank_by: str | None, scored: bool) -> str:
    file = "FILE (Alpaca rows such as alpaca_data.json, joined by id)"
    if not record.responses:
        return f"a question without answers: {COLLECT}; or set datamodule.original={file}"
    return f"set datamodule.original={'best, none or ' if rank_by else 'best or ' if scored else ''}{file}"


def load_questions(source: Source) -> Loaded:
    """Read one source for its questions, whose ids must differ; what was changed to be JSON stands in the notes."""
    loaded, _, imported = _import(source)
    seen: dict[str, str] = {}
    changed: Counter[tuple[str, str]] = Counter()

    def check(record: Record) -> Record:
        if check_text(record.id, "id") in seen:
            raise FieldError("id", f"an id of its own ({seen[record.id]} has it too)", record.id)
        seen[record.id] = record.where
        return jsonable(record, changed)

    _keep(loaded, imported, check)
    loaded.notes += [f"{source.path}: column {name!r}: {what}: {n:,}" for (name, what), n in changed.items()]
    return loaded


def jsonable(record: Record, changed: Counter[tuple[str, str]]) -> Record:
    """The record as JSON can carry it; ``changed`` counts by column and rule. Raises: FieldError where that fails."""

    def column(name: str, value: object, field: str) -> Any:
        if value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value)):
            return value
        if isinstance(value, UUID):
            return str(value)
        if isinstance(value, list | tuple):
            return [column(name, inner, field) for inner in value]
        if isinstance(value, Mapping):
            found = {str(key): column(name, inner, f"{field}.{key}") for key, inner in value.items()}
            if len(found) < len(value):
                raise FieldError(field, "keys that differ as text", value)
            return found
        for kinds, what, change in _CHANGES:
            if isinstance(value, kinds):
                changed[name, what] += 1
                return change(value)
        expected = "text, a number, a date or time, bytes, or a list or object of these, which JSON can be made to hold"
        raise FieldError(field, expected, value)

    return replace(
        record,
        messages=tuple(column("messages", record.messages, "messages")),
        tools=tuple(column("tools", record.tools, "tools")),
        extra={key: column(key, value, key) for key, value in record.extra.items()},
    )


def _import(source: Source) -> tuple[Loaded, Importer, list[Imported]]:
    read = read_rows(source.path, source.split, source.subset, key=source.key)
    loaded = Loaded(source, sha256=read.sha256, notes=[read.note] if read.note else [])
    rows = _cut(read.rows, loaded)
    name = source.format
    if source.columns is not None:
        check_present(source.columns, [row.value for _, row in rows], source.path, key_beside(source.key, "columns"))
        rows = [(index, _mapped(row, source.columns)) for index, row in rows]
        name = format_of(source.columns) if name == "auto" else name
    importer = choose(name, (row.value for _, row in rows), source.path, source.key)
    loaded.rows, loaded.format = len(rows), importer.name
    notes: Counter[str] = Counter()
    imported = list(records(importer, rows, notes, auto=name == "auto"))
    loaded.notes += [f"{source.path}: {note}: {count}" for note, count in notes.items() if count]
    return loaded, importer, imported


def _mapped(row: Row, columns: Mapping[str, Any]) -> Row:
    if not isinstance(row.value, dict):
        return row
    try:
        return Row(row.where, mapped_row(row.value, columns))
    except FieldError as error:
        return Row(row.where, None, error)


def _keep(loaded: Loaded, imported: Sequence[Imported], check: Callable[[Record], Record]) -> None:
    for where, found in imported:
        try:
            if isinstance(found, FieldError):
                raise found
            loaded.records.append(check(found))
        except FieldError as error:
            loaded.problems.append(f"{where}: {error.told(_own(error.hint, loaded.source.key))}")
            loaded.reasons[BAD_ROW + re.sub(r"\[-?\d+\]", "[]", error.reason)] += 1


def _own(hint: str, key: str) -> str:
    """A hint with the keys of the command whose ``key`` names the path; none where the command lacks one of them."""
    for name in _NAMED.findall(hint):
        hint = hint.replace(f"datamodule.{name}", own) if (own := key_beside(key, name)) else ""
    return hint


def _cut(rows: Sequence[Row], loaded: Loaded) -> list[tuple[int, Row]]:
    """The rows of the range, each with its place in the whole file (which is an Alpaca row's id)."""
    path, first, last = loaded.source.path, loaded.source.first, loaded.source.last
    for key, wanted in (("first", first), ("last", last)):
        if wanted is not None and wanted > len(rows):
            if not is_asset(path):
                raise DataError(f"{path}: {key}: expected at most {len(rows)} (the file's rows), got {wanted}")
            loaded.notes.append(f"{path}: {key}={wanted} cut to the {len(rows)} embedded rows")
    begin = 0 if last is None else max(0, len(rows) - last)
    chosen = list(enumerate(rows))[begin:first]
    if not chosen:
        raise DataError(f"{path}: first={first} and last={last} of {len(rows)} rows have none in common")
    return chosen
