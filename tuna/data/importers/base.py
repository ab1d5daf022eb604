"""What an importer is: a format's name, the shape of its rows, and how a row of it is read.

A row's shape is which keys it has and of what kind their values are; formats are recognized by it. A format's keys are
written ``{"prompt": "text|messages", "answers[].rank": "number"}``: alternatives for a kind, and for a key
("chosen|chosen_response"), are parted by ``|``; ``answers[].rank`` is the key ``rank`` of every object in the list
``answers``.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from tuna.data.fields import Cell, FieldError, check_text, check_texts, identity, parse_json, plain, rest
from tuna.data.record import Message, Record

RawRow = Mapping[str, Any]
Notes = Counter[str]  # what was done to rows, with how many
Imported = tuple[str, Record | FieldError]  # where a row stands, and what became of it
Parse = Callable[[RawRow, Notes], Record]

Shape = Mapping[str, frozenset[frozenset[str]]]  # key -> the kinds of its value; of answers[].rank, of each value

_PLAIN = {bool: "flag", int: "number", float: "number"}
_LISTED = ("text", "number", "object")  # in a list of these some may be null
_WORDS = {
    "text": "text", "number": "a number", "flag": "true/false", "texts": "a list of texts", "list": "a list",
    "numbers": "a list of numbers", "messages": "chat messages", "message": "a chat message", "object": "an object",
    "objects": "a list of objects", "null": "null", "any": "anything",
}  # fmt: skip

_SYSTEM = ("system", "system_prompt")
_EVERYWHERE = {"id": "text|number", **dict.fromkeys(_SYSTEM, "text"), "tools": "list|text"}  # in every format
# Columns that speak of the question or the answers, whatever else a format has: left unread, they are counted.
_TALK = frozenset({"conversation", "conversations", "messages", "history", "context"})
_ANSWERS = frozenset({"generations", "responses", "all_generated_responses", "all_responses", "completions", "answers"})


@dataclass(frozen=True)
class Importer:
    """One file format; a row is recognized by all keys that are required.

    parse(row, notes) gives a record or raises tuna.data.fields.FieldError; the row's id, its place, the columns of
    every format and what is not read (``extra``) are added. join(records, notes) makes lists of the records of a whole
    file, where the format has one row per answer. original: what ``datamodule.original=error`` means here: "best" where
    the format says which answer is wanted.
    """

    name: str
    parse: Parse
    required: Mapping[str, str]  # keys that ``parse`` reads, and the kinds of their values
    optional: Mapping[str, str] = field(default_factory=dict)
    kept: Mapping[str, str] = field(default_factory=dict)  # others that the format has
    join: Callable[[Sequence[Record], Notes], Iterable[Imported]] | None = None
    original: Literal["error", "best"] = "best"

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


def _holds_answers(value: object) -> bool:
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


def _with_tools(record: Record, given: object) -> Record:
    tools = given
    if isinstance(given, str):  # JSON in a text, as LLaMA-Factory has it
        with suppress(ValueError):
            tools = parse_json(given or "[]")
    if not tools:
        return record
    if not isinstance(tools, list) or not all(isinstance(tool, Mapping) for tool in tools):
        raise FieldError("tools", "a list of functions, or JSON of one", given)
    check_texts(tools, "tools")
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


def kinds_of(value: object) -> frozenset[str]:
    """All kinds that a value is of. A table's cell that holds a number is text or number, as it is wanted."""
    if value is None:
        return frozenset({"null"})
    found = {"any", _PLAIN.get(type(value), "any")}
    if isinstance(value, str):
        found |= {"text", "number", "flag"} if isinstance(value, Cell) and plain(value) is not value else {"text"}
    elif isinstance(value, dict):
        found |= {"object", *(["message"] if "role" in value or "from" in value else [])}
    elif isinstance(value, list | tuple):
        inner = [kinds_of(v) for v in value]
        found |= {"list", *(f"{kind}s" for kind in _LISTED if all({kind, "null"} & kinds for kinds in inner))}
        if inner and all("message" in kinds for kinds in inner):
            found.add("messages")
    return frozenset(found)


def shape_of(row: object) -> Shape:
    """The shape of a row, the same for rows that differ in their texts and numbers only."""
    found = {}
    for key, value in row.items() if isinstance(row, dict) else ():
        kinds = kinds_of(value)
        found[key] = frozenset({kinds})
        if "objects" in kinds:
            for inner in dict.fromkeys(name for each in value for name in each or ()):
                found[f"{key}[].{inner}"] = frozenset(kinds_of((each or {}).get(inner)) for each in value)
    return found


def holds(row: Shape, name: str, kinds: str) -> bool:
    """Whether the row has the key with a value of one of these kinds; of a list's objects each must have it."""
    wanted, found = set(kinds.split("|")), row.get(name, frozenset())
    return bool(found) and all(wanted & each for each in found)


def words(keys: Iterable[str]) -> set[str]:
    """The keys one by one, the alternatives apart."""
    return {name for names in keys for name in names.split("|")}


def outer(name: str) -> str:
    """The key of the row itself, of ``answers[].rank`` ``answers``."""
    return name.partition("[].")[0]


def known(row: Shape, keys: Mapping[str, str]) -> int:
    """How many of the row's keys a format knows, by name and kind."""
    return sum(holds(row, name, kinds) for names, kinds in keys.items() for name in names.split("|"))


def there(row: Shape, names: str) -> bool:
    """Whether a row has one of these keys, of whatever kind."""
    return any(holds(row, outer(name), "any") for name in names.split("|"))


def missing(row: Shape, required: Mapping[str, str]) -> dict[str, str]:
    """What the row lacks of a format, by outermost key: in words, for a message."""
    found: dict[str, str] = {}
    for names, kinds in required.items():
        first, *others = options = names.split("|")
        if any(holds(row, name, kinds) for name in options):
            continue
        has = next((name for name in options if there(row, name)), None)
        if has is None:
            said = "has no " + " or ".join(f"`{name}`" for name in (outer(first), *others))
        elif has != outer(has) and holds(row, outer(has), "objects") and not holds(row, has, "any"):
            said = f"has no `{has}`"
        else:
            said = f"has `{has}` that is not " + " or ".join(_WORDS[kind] for kind in kinds.split("|"))
        found.setdefault(outer(first), said)
    return found
