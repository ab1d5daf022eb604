"""The shape of a row: which keys it has and of what kind their values are. Formats are recognized by it.

A format's keys are written ``{"prompt": "text|messages", "answers[].rank": "number"}``: alternatives for a kind, and
for a key ("chosen|chosen_response"), are parted by ``|``; ``answers[].rank`` is the key ``rank`` of every object in the
list ``answers``.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tuna.data.fields import Cell, plain

Shape = str | tuple[str, frozenset[Any]]  # a plain kind; ("list", shapes); ("object", (key, shape) pairs)

_PLAIN = {type(None): "null", bool: "flag", int: "number", float: "number", str: "text"}
_NOTHING = ("null", "absent")
_DEPTH = 6  # arena: row, conversation, message, content, part, text
_WORDS = {
    "text": "text", "number": "a number", "flag": "true or false", "texts": "a list of texts", "list": "a list",
    "numbers": "a list of numbers", "messages": "chat messages", "message": "a chat message", "object": "an object",
    "objects": "a list of objects", "null": "null", "any": "anything",
}  # fmt: skip


def shape_of(value: Any, depth: int = _DEPTH) -> Shape:
    """The shape of a row or a value, hashable, the same for rows that differ in their texts and numbers only.

    A table's cell that holds a number is "cell": text or number, as it is wanted.
    """
    plainly = _PLAIN.get(type(value))
    if plainly is not None:
        return plainly
    if isinstance(value, str):
        return "cell" if isinstance(value, Cell) and not isinstance(plain(value), str) else "text"
    if isinstance(value, dict) and depth:
        return "object", frozenset([(key, shape_of(v, depth - 1)) for key, v in value.items()])
    if isinstance(value, list | tuple) and depth:
        return "list", frozenset([shape_of(v, depth - 1) for v in value])
    return "any"


def fits(shape: Shape, kinds: str) -> bool:
    """Whether a shape is of one of the kinds.

    >>> fits(shape_of(["a", None]), "text|texts"), fits(shape_of([{"role": "user", "content": "Hi."}]), "messages")
    (True, True)
    """
    return any(_fits(shape, kind) for kind in kinds.split("|"))


def _fits(shape: Shape, kind: str) -> bool:
    if kind == "any":
        return shape not in _NOTHING
    if isinstance(shape, str):
        return shape == kind or (shape == "cell" and kind in ("text", "number", "flag"))
    name, inner = shape
    if name == "object":
        return kind == "object" or (kind == "message" and not {"role", "from"}.isdisjoint(key for key, _ in inner))
    if kind == "messages":
        return bool(inner) and all(_fits(s, "message") for s in inner)
    element = {"texts": "text", "numbers": "number", "objects": "object"}.get(kind)
    return kind == "list" or (element is not None and all(s == "null" or _fits(s, element) for s in inner))


def words(keys: Iterable[str]) -> set[str]:
    """The keys one by one, the alternatives apart."""
    return {name for names in keys for name in names.split("|")}


def outer(name: str) -> str:
    """The key of the row itself, of ``answers[].rank`` ``answers``."""
    return name.partition("[].")[0]


def known(row: Shape, keys: Mapping[str, str]) -> int:
    """How many of the row's keys a format knows, by name and kind."""
    return sum(_holds(row, name, kinds) for names, kinds in keys.items() for name in names.split("|"))


def there(row: Shape, names: str) -> bool:
    """Whether a row has one of these keys, of whatever kind."""
    return any(fits(_get(row, outer(name)), "any") for name in names.split("|"))


def missing(row: Shape, required: Mapping[str, str]) -> dict[str, str]:
    """What the row lacks of a format, by outermost key: in words, for a message.

    >>> row = shape_of({"prompt": "Hi.", "answers": [{"answer": "Hello."}]})
    >>> missing(row, {"prompt": "text", "answers[].rank": "number"})
    {'answers': 'has no `answers[].rank`'}
    """
    found: dict[str, str] = {}
    for names, kinds in required.items():
        first, *others = options = names.split("|")
        if any(_holds(row, name, kinds) for name in options):
            continue
        has = next((name for name in options if there(row, name)), None)
        if has is None:
            said = "has no " + _either([f"`{name}`" for name in (outer(first), *others)])
        elif has != outer(has) and fits(_get(row, outer(has)), "objects") and not _holds(row, has, "any"):
            said = f"has no `{has}`"
        else:
            said = f"has `{has}` that is not " + _either([_WORDS[kind] for kind in kinds.split("|")])
        found.setdefault(outer(first), said)
    return found


def _either(options: Sequence[str]) -> str:
    return options[0] + (f" (or {', '.join(options[1:])})" if len(options) > 1 else "")


def _get(row: Shape, key: str) -> Shape:
    if isinstance(row, str) or row[0] != "object":
        return "absent"
    return next((shape for name, shape in row[1] if name == key), "absent")


def _holds(row: Shape, name: str, kinds: str) -> bool:
    """Whether the row has the key with a value of these kinds; of a list's objects each must have it."""
    key, nested, inner = name.partition("[].")
    found = _get(row, key)
    if not nested:
        return fits(found, kinds)
    return fits(found, "objects") and bool(found[1]) and all(fits(_get(s, inner), kinds) for s in found[1])
