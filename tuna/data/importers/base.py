"""What an importer is: a format's name, the whole shape of its rows, how to read one, how rows join into lists."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from tuna.data.fields import FieldError
from tuna.data.record import Record

RawRow = Mapping[str, Any]
Imported = tuple[str, Record | FieldError]  # where a row stands, and what became of it


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_message(value: Any) -> bool:
    return isinstance(value, Mapping) and bool({"role", "from"} & set(value))


def _list_of(test: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list | tuple) and all(map(test, value))


# What a key can hold, in the words of messages. A list may be empty: which is the reader's to refuse, by name.
KINDS: dict[str, Callable[[Any], bool]] = {
    "a string": lambda value: isinstance(value, str),
    "a number": _is_number,
    "a number or a string": lambda value: _is_number(value) or isinstance(value, str),
    "a boolean": lambda value: isinstance(value, bool),
    "an object": lambda value: isinstance(value, Mapping),
    "a chat message": _is_message,
    "chat messages": _list_of(_is_message),
    "a list": lambda value: isinstance(value, list | tuple),
    "a list of strings": _list_of(lambda value: isinstance(value, str)),
    "a list of numbers": _list_of(_is_number),
    "a list of objects": _list_of(lambda value: isinstance(value, Mapping) and not _is_message(value)),
    "a string or chat messages": lambda value: isinstance(value, str) or _list_of(_is_message)(value),
    "a string, a chat message or a list of them": (
        lambda value: isinstance(value, str) or _is_message(value) or _list_of(_is_message)(value)
    ),
    "anything": lambda value: True,
}


# Keys that say what is asked, or where a row comes from; many formats share them.
QUESTION = frozenset(
    ("prompt", "instruction", "question", "query", "input", "history", "context", "messages", "system", "tools")
) | frozenset(("id", "source", "text", "output", "conversations", "model", "models"))


@dataclass(frozen=True, slots=True)
class Shape:
    """The keys that rows of a format have, each with a kind of KINDS.

    required: what makes it this format. optional: what else is read, or belongs to it; null counts as absent.
    """

    required: Mapping[str, str]
    optional: Mapping[str, str] = field(default_factory=dict)

    def problem(self, row: RawRow) -> FieldError | None:
        """The first key that is missing or holds something else."""
        for key, kind in self.required.items():
            if not KINDS[kind](row.get(key)) or (row.get(key) is None):
                return FieldError(key, kind, row.get(key))
        for key, kind in self.optional.items():
            if row.get(key) is not None and not KINDS[kind](row[key]):
                return FieldError(key, kind, row[key])
        return None

    def near(self, row: RawRow) -> float:
        """How much a row looks like this: required keys that it has, less a half for each that it lacks."""
        has = sum(row.get(key) is not None for key in self.required)
        known = sum(row.get(key) is not None for key in self.optional)
        return has - 0.5 * (len(self.required) - has) + 0.1 * known if has else 0.0


@dataclass(frozen=True, slots=True)
class Importer:
    """One file format. A module of this folder that has ``IMPORTER`` is found by listing the folder.

    shapes: the forms that a row can have; a row is of this format when it has all required keys of one, and no key
    that another format reads and this one does not know. Keys that no format knows are carried along.
    read(row, where, index) gives the record or raises tuna.data.fields.FieldError; index counts rows from 0. What it
    changes or leaves out, it says in ``Record.noted``.
    join(records) makes lists of the records of a file, where a row holds a part of one; None: a row is a list.
    original: what ``datamodule.original=error`` means here: "best" where the format says which answer is wanted.
    hint: the next thing to do when a record lacks ``output``.
    """

    name: str
    shapes: tuple[Shape, ...]
    read: Callable[[RawRow, str, int], Record]
    original: Literal["error", "best"] = "error"
    hint: str = "set datamodule.original=best, none or FILE (Alpaca rows, joined by id)"
    join: Callable[[Sequence[Imported]], Iterator[Imported]] | None = None

    @property
    def fields(self) -> str:
        """The keys that make the format, for messages."""
        return " or ".join(", ".join(shape.required) for shape in self.shapes)

    @property
    def keys(self) -> frozenset[str]:
        """All keys that it knows."""
        return frozenset(key for shape in self.shapes for key in (*shape.required, *shape.optional))

    def problem(self, row: RawRow) -> FieldError | None:
        """Why a row is not of this format: the fault of the shape that it is nearest to; None where it is."""
        faults = [(shape.near(row), shape.problem(row)) for shape in self.shapes]
        if any(fault is None for _, fault in faults):
            return None
        return max(faults, key=lambda each: each[0])[1]

    def weight(self, row: RawRow) -> int:
        """How much of a row this format explains: the required keys of its largest shape that fits; 0 for none."""
        return max((len(s.required) for s in self.shapes if s.problem(row) is None), default=0)


def by_question(imported: Sequence[Imported]) -> Iterator[Imported]:
    """Rows of one question as one list, at the place of the first; faults stay where they are.

    Equal answers with equal scores are one. The record's id is the first row's.
    """
    lists: dict[str, tuple[str, Record]] = {}
    order: list[Imported | str] = []
    for where, found in imported:
        if isinstance(found, FieldError):
            order.append((where, found))
            continue
        key = repr(found.question)
        if key not in lists:
            lists[key] = (where, found)
            order.append(key)
            continue
        first_where, first = lists[key]
        new = [c for c in found.responses if (c.text, c.score) not in {(f.text, f.score) for f in first.responses}]
        joined = replace(first, responses=(*first.responses, *new), noted=(*first.noted, *found.noted))
        lists[key] = (first_where, joined)
    for entry in order:
        yield lists[entry] if isinstance(entry, str) else entry
