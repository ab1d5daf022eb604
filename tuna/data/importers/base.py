"""What an importer is: a format's name, the shape of its rows, and how a row of it is read."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from tuna.data.fields import FieldError, check_text, identity, parse_json, rest
from tuna.data.importers.shapes import outer, words
from tuna.data.record import Message, Record

RawRow = Mapping[str, Any]
Notes = Counter[str]  # what was done to rows, with how many
Imported = tuple[str, Record | FieldError]  # where a row stands, and what became of it
Parse = Callable[[RawRow, Notes], Record]

_SYSTEM = ("system", "system_prompt")
_EVERYWHERE = {"id": "text|number", **dict.fromkeys(_SYSTEM, "text"), "tools": "list|text"}  # in every format
# Columns that speak of the question or the answers, whatever else a format has: left unread, they are counted.
_TALK = frozenset({"conversation", "conversations", "messages", "history", "context"})
_ANSWERS = frozenset({"generations", "responses", "all_generated_responses", "all_responses", "completions", "answers"})


@dataclass(frozen=True)
class Importer:
    """One file format.

    required, optional: the keys that ``parse`` reads and of what kind their values are, see tuna.data.importers.shapes;
    kept: others that the format has. A row is recognized by all that are required; what is not read stays in ``extra``.
    parse(row, notes) gives a record or raises tuna.data.fields.FieldError; the row's id, its place and the columns of
    every format are added to the record. join(records, notes) makes lists of the records of a whole file, where the
    format has one row per answer. original: what ``datamodule.original=error`` means here: "best" where the format says
    which answer is wanted. hint: the next thing to do when a record lacks ``output``.
    """

    name: str
    parse: Parse
    required: Mapping[str, str]
    optional: Mapping[str, str] = field(default_factory=dict)
    kept: Mapping[str, str] = field(default_factory=dict)
    join: Callable[[Sequence[Record], Notes], Iterable[Imported]] | None = None
    original: Literal["error", "best"] = "best"
    hint: str = "set datamodule.original=best, none or FILE (Alpaca rows, joined by id)"

    @cached_property
    def keys(self) -> Mapping[str, str]:
        """All keys that the format has a word for, with their kinds."""
        return {**_EVERYWHERE, **self.kept, **self.optional, **self.required}

    @cached_property
    def _read(self) -> frozenset[str]:
        return frozenset(map(outer, words([*_EVERYWHERE, *self.optional, *self.required])))

    def read(self, row: RawRow, where: str, index: int, notes: Notes | None = None) -> Record:
        """Read one row; its ``input``, ``system`` and ``tools`` columns become part of the question in every format.

        index: its place in the file from 0, its id where it has none. notes: counts what else was done to the row.
        """
        notes = Counter() if notes is None else notes
        record = self.parse(row, notes)
        others = rest(row, self._read)
        for key, value in others.items():
            listed = key in _ANSWERS and isinstance(value, list) and len(value) > len(record.responses)
            if key not in self.kept and (value if key in _TALK else listed or _holds_answers(value)):
                notes[f"rows whose column {key!r} was not read, though it may be of the question or the answers"] += 1
        if not record.input and isinstance(row.get("input"), str):
            record = _with_input(record, row["input"])
            others.pop("input", None)
        record = _with_system(_with_tools(record, row.get("tools")), row)
        return replace(record, id=record.id or identity(row, index), where=where, extra=others | dict(record.extra))


def importer(required: Mapping[str, str], **more: Any) -> Callable[[Parse], Importer]:
    """Make the importer of a format out of the function that reads its rows and has its name; see ``Importer``."""
    return lambda parse: Importer(parse.__name__, parse, required, **more)


def _holds_answers(value: Any) -> bool:
    """Whether a column that nobody reads looks like a conversation or a list of answers."""
    if not isinstance(value, list | tuple) or not value:
        return False
    messages = all(isinstance(v, Mapping) and {"role", "from"} & set(v) for v in value)
    return messages or (len(value) > 1 and all(isinstance(v, str) and " " in v.strip() for v in value))


def _with_input(record: Record, given: str) -> Record:
    if any(given.strip() in turn["content"] for turn in record.conversation):
        return record
    _not_finished(record, "input")
    if record.messages:
        raise FieldError("input", "a part of the last user turn, or nothing beside a conversation", given)
    return replace(record, input=check_text(given, "input"))


def _with_tools(record: Record, given: Any) -> Record:
    tools = given
    if isinstance(given, str):  # JSON in a text, as LLaMA-Factory has it
        with suppress(ValueError):
            tools = parse_json(given or "[]")
    if not tools:
        return record
    if not isinstance(tools, list) or not all(isinstance(tool, Mapping) for tool in tools):
        raise FieldError("tools", "a list of functions, or JSON of one", given)
    _not_finished(record, "tools")
    return replace(spoken(record), tools=tuple(tools))


def _with_system(record: Record, row: RawRow) -> Record:
    key = next((key for key in _SYSTEM if row.get(key)), None)
    if key is None or not (said := check_text(row[key], key)).strip():
        return record
    _not_finished(record, key)
    turns = record.conversation
    if turns[0]["role"] != "system":
        return spoken(record, {"role": "system", "content": said})
    if turns[0]["content"].strip() != said.strip():
        raise FieldError(key, "the system message that the conversation begins with", said)
    return record


def spoken(record: Record, *before: Message) -> Record:
    """The record with its question as messages, after others."""
    return replace(record, instruction=record.user_turn, input="", messages=(*before, *record.conversation))


def _not_finished(record: Record, key: str) -> None:
    if record.template == "none":
        raise FieldError(key, "nothing beside a finished prompt, which says all", key)
