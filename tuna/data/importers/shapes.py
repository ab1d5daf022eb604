"""The shape of a row: which keys it has and of what kind their values are. Formats are recognized by it.

A format's keys are written ``{"prompt": "text|messages", "answers[].rank": "number"}``: alternatives for a kind, and
for a key ("chosen|chosen_response"), are parted by ``|``; ``answers[].rank`` is the key ``rank`` of every object in the
list ``answers``.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from tuna.data.fields import Cell, plain

Shape = Mapping[str, frozenset[frozenset[str]]]  # key -> the kinds of its value; of answers[].rank, of each value

_PLAIN = {bool: "flag", int: "number", float: "number"}
_LISTED = ("text", "number", "object")  # in a list of these some may be null
_WORDS = {
    "text": "text", "number": "a number", "flag": "true/false", "texts": "a list of texts", "list": "a list",
    "numbers": "a list of numbers", "messages": "chat messages", "message": "a chat message", "object": "an object",
    "objects": "a list of objects", "null": "null", "any": "anything",
}  # fmt: skip


def kinds_of(value: Any) -> frozenset[str]:
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


def shape_of(row: Any) -> Shape:
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
