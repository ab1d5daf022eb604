"""What an importer is: a format's name, the shape of its rows, how to read one."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from tuna.data.fields import FieldError, check_text
from tuna.data.json_text import parse_json
from tuna.data.record import Message, Record

RawRow = Mapping[str, Any]
Notes = Counter[str]  # what was done to rows, with how many
Imported = tuple[str, Record | FieldError]  # where a row stands, and what became of it

_SYSTEM = ("system", "system_prompt")
_COLUMNS = frozenset({*_SYSTEM, "tools"})  # read alike in every format
# Columns that speak of the question or the answers, whatever else a format has: left unread, they are counted.
_TALK = frozenset({"conversation", "conversations", "messages", "history", "context"})
_ANSWERS = frozenset({"generations", "responses", "all_generated_responses", "all_responses", "completions", "answers"})


@dataclass(frozen=True, slots=True)
class Importer:
    """One file format. A module of this folder that has ``IMPORTER`` is found by listing the folder.

    required, optional: the keys of a row and of what kind their values are, see tuna.data.importers.shapes; a row is
    recognized by all that are required, and keys that nobody knows are kept in ``extra``. parse(row, where, index,
    notes) gives the record or raises tuna.data.fields.FieldError; index counts rows from 0. join(records, notes) makes
    lists of the records of a whole file, where the format has one row per answer.
    original: what ``datamodule.original=error`` means here: "best" where the format says which answer is wanted.
    hint: the next thing to do when a record lacks ``output``.
    """

    name: str
    required: Mapping[str, str]
    parse: Callable[[RawRow, str, int, Notes], Record]
    optional: Mapping[str, str] = field(default_factory=dict)
    join: Callable[[Sequence[Record], Notes], Iterable[Imported]] | None = None
    original: Literal["error", "best"] = "error"
    hint: str = "set datamodule.original=best, none or FILE (Alpaca rows, joined by id)"

    @property
    def keys(self) -> Mapping[str, str]:
        """All keys that the format has a word for, with their kinds."""
        return {**self.optional, **self.required, **dict.fromkeys(_SYSTEM, "text"), "tools": "list|text"}

    @property
    def fields(self) -> str:
        """The required keys, for a message."""
        return ", ".join(names.replace("|", " or ") for names in self.required)

    def read(self, row: RawRow, where: str, index: int, notes: Notes | None = None) -> Record:
        """Read one row; its ``input``, ``system`` and ``tools`` columns become part of the question in every format.

        notes: counts what else was done to the row.
        """
        notes = Counter() if notes is None else notes
        record = self.parse(row, where, index, notes)
        record = _with_system(_with_tools(_with_input(record, row), row), row)
        extra = {key: value for key, value in record.extra.items() if key not in _COLUMNS}
        for key, value in extra.items():
            listed = key in _ANSWERS and isinstance(value, list) and len(value) > len(record.responses)
            talks = value if key in _TALK else listed or _holds_answers(value)
            if talks and not any(key in names.split("|") for names in self.keys):
                notes[f"rows whose column {key!r} was not read, though it may be of the question or the answers"] += 1
        return replace(record, extra=extra)


def _holds_answers(value: Any) -> bool:
    """Whether a column that nobody reads looks like a conversation or a list of answers."""
    if not isinstance(value, list | tuple) or not value:
        return False
    messages = all(isinstance(v, Mapping) and {"role", "from"} & set(v) for v in value)
    return messages or (len(value) > 1 and all(isinstance(v, str) and " " in v.strip() for v in value))


def _with_input(record: Record, row: RawRow) -> Record:
    beside = row.get("input")
    if record.input or not isinstance(beside, str) or not beside.strip():
        return record
    record = replace(record, extra={key: value for key, value in record.extra.items() if key != "input"})
    if any(beside.strip() in turn["content"] for turn in record.conversation):
        return record
    _not_finished(record, "input")
    if record.messages:
        raise FieldError("input", "a part of the last user turn, or nothing beside a conversation", beside)
    return replace(record, input=check_text(beside, "input"))


def _with_tools(record: Record, row: RawRow) -> Record:
    value = row.get("tools")
    if isinstance(value, str):  # JSON in a text, as LLaMA-Factory has it
        try:
            value = parse_json(value or "[]")
        except ValueError:
            raise FieldError("tools", "a list of functions, or JSON of one", value) from None
    if not value:
        return record
    if not isinstance(value, list) or not all(isinstance(tool, Mapping) for tool in value):
        raise FieldError("tools", "a list of functions, or JSON of one", value)
    _not_finished(record, "tools")
    return replace(spoken(record), tools=tuple(value))


def _with_system(record: Record, row: RawRow) -> Record:
    key = next((key for key in _SYSTEM if row.get(key)), None)
    if key is None or not (said := check_text(row[key], key)).strip():
        return record
    _not_finished(record, key)
    first: Message = {"role": "system", "content": said}
    turns = record.conversation
    if turns[0]["role"] == "system":
        if turns[0]["content"].strip() != said.strip():
            raise FieldError(key, "the system message that the conversation begins with", said)
        return record
    return spoken(record, first)


def spoken(record: Record, *before: Message) -> Record:
    """The record with its question as messages, after others."""
    return replace(record, instruction=record.user_turn, input="", messages=(*before, *record.conversation))


def _not_finished(record: Record, key: str) -> None:
    if record.template == "none":
        raise FieldError(key, "nothing beside a finished prompt, which says all", key)
