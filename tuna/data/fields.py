"""Reading what others wrote: JSON, and typed fields of rows, with faults that say ``field: expected ... got ...``.

Each function that reads a field raises FieldError where the value is missing or of another kind.
"""

import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from tuna.errors import writable

LARGEST = 3e38  # scores become float32
MOST = 2**53  # of what is counted: each number up to it is a float of its own
DEPTH = 100  # lists and objects in one another; the deepest data there are have some ten


def parse_json(text: str | bytes) -> Any:
    """``json.loads``; bytes are UTF-8. Raises: JSONDecodeError for no JSON; ValueError with what is wrong for nesting
    over 100 deep, bytes of another encoding, and whole numbers of more than 4300 digits.
    """
    text = text.decode("utf-8-sig") if isinstance(text, bytes) else text
    deep = ValueError(f"lists or objects nested more than {DEPTH} deep")
    try:
        value = json.loads(text)
    except RecursionError:
        raise deep from None
    except json.JSONDecodeError:
        raise
    except ValueError:
        raise ValueError("a whole number of more than 4300 digits") from None
    if text.count("[") + text.count("{") > DEPTH and _deeper(value, DEPTH):
        raise deep
    return value


def _deeper(value: object, depth: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return inner is not None and (depth == 0 or any(_deeper(each, depth - 1) for each in inner))


class FieldError(Exception):
    """One field of one row is wrong. The reader puts file and line before it.

    >>> str(FieldError("score", "a finite number", float("nan")))
    'score: expected a finite number, got NaN'
    """

    def __init__(self, field: str, expected: str, value: object, hint: str = "") -> None:
        self.reason, self.got, self.hint = f"{field}: expected {expected}", f", got {describe(value)}", hint
        super().__init__(self.told(hint))

    def told(self, hint: str) -> str:
        """The fault, with another hint."""
        return self.reason + self.got + (f"; {hint}" if hint else "")


class RowError(FieldError):
    """A row is wrong as a whole: the reason, and what came instead."""

    def __init__(self, reason: str, got: str = "", hint: str = "") -> None:
        self.reason, self.got, self.hint = reason, got, hint
        Exception.__init__(self, self.told(hint))


class Cell(str):
    """The text of a CSV or TSV cell ("007", "true"); where a number is wanted, ``plain`` reads it as one."""

    __slots__ = ()


def plain(value: object) -> Any:
    """A table's cell as the number or boolean that it holds, where it holds one; anything else as it is.

    >>> plain(Cell("3")), plain(Cell("False")), plain(Cell("3 apples")), plain("3")
    (3, False, '3 apples', '3')
    """
    if not isinstance(value, Cell):
        return value
    lower = value.lower()
    try:
        found = parse_json(lower if lower in ("true", "false") else value)
    except ValueError:
        return value
    return found if isinstance(found, bool | int | float) else value


def describe(value: object) -> str:
    """A value in few words, for a message.

    >>> [describe(v) for v in (None, float("nan"), [1, 2], {"a": 1})]
    ['nothing', 'NaN', 'a list of 2', 'an object with a']
    """
    if value is None:
        return "nothing"
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else repr(value)
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if isinstance(value, Mapping):
        return "an object with " + writable(", ".join(map(str, list(value)[:6]))) if value else "an empty object"
    if isinstance(value, str):
        return repr(value if len(value) <= 40 else value[:30] + "...")
    return repr(value)[:60]


def text(row: Mapping[str, Any], key: str, *, default: str | None = None, path: str = "") -> str:
    """A string; ``default`` when the key is absent or null, a FieldError when there is no default."""
    value = row.get(key)
    return default if value is None and default is not None else check_text(value, path + key)


def optional_text(row: Mapping[str, Any], key: str, path: str = "") -> str | None:
    """A string, or None when the key is absent or null."""
    return None if row.get(key) is None else check_text(row[key], path + key)


def check_text(value: object, field: str) -> str:
    """``value`` as a string that can be written as UTF-8."""
    if not isinstance(value, str):
        raise FieldError(field, "a string", value)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise FieldError(field, "valid Unicode text", value[error.start]) from None
    return value


def check_texts(value: object, field: str) -> None:
    """A FieldError where a text within lists and objects, which a template may show, cannot be written as UTF-8."""
    check_text(json.dumps(value, ensure_ascii=False, default=str), field)


def number(value: object, field: str) -> float:
    """``value`` as a finite number (no bool)."""
    value = plain(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < LARGEST:
        raise FieldError(field, "a finite number", value)
    return float(value)


def optional_number(row: Mapping[str, Any], key: str, path: str = "") -> float | None:
    """A finite number, or None when the key is absent or null."""
    return None if row.get(key) is None else number(row[key], path + key)


def optional_count(row: Mapping[str, Any], key: str, path: str = "") -> int | None:
    """A whole number of zero or more, or None when the key is absent or null."""
    value = plain(row.get(key))
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < MOST or value % 1:
        raise FieldError(path + key, "a whole number", value)
    return int(value)


def items(row: Mapping[str, Any], key: str, of: str) -> list[Any]:
    """A list; ``of`` says of what, for the message."""
    value = row.get(key)
    if not isinstance(value, list | tuple):
        raise FieldError(key, f"a list of {of}", value)
    return list(value)


def identity(row: Mapping[str, Any], index: int | str, key: str = "id", path: str = "") -> str:
    """The row's ``id`` (string or whole number), else its place in the file, counted from 0."""
    value = row.get(key)
    if value is None:
        return str(index)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise FieldError(path + key, "a string or a whole number", value)
    return str(value)


def rest(row: Mapping[str, Any], used: Collection[str]) -> dict[str, Any]:
    """What else the row carries: kept and ignored."""
    return {key: value for key, value in row.items() if key not in used}


def first_key(row: Mapping[str, Any], names: Sequence[str]) -> str:
    """The first of the names that the row has a value under; "" where it has none."""
    return next((name for name in names if row.get(name) is not None), "")


def no_other(row: Mapping[str, Any], key: str, names: Iterable[str]) -> None:
    """Raises: FieldError where the row has another value than ``key``'s under one more of the names."""
    for other in names:
        if row.get(other) and row[other] != row[key]:
            raise FieldError(other, f"nothing beside {key}, or the same again", row[other])


def texts(row: Mapping[str, Any], key: str, holes: bool = False) -> list[Any]:
    """A list of texts; with ``holes`` some of them may be null."""
    texts = enumerate(items(row, key, "strings"))
    return [None if holes and said is None else check_text(said, f"{key}[{k}]") for k, said in texts]


def beside(row: Mapping[str, Any], key: str, texts: str, size: int) -> list[Any]:
    """A list of numbers, not yet read: as many as there are under the key ``texts``."""
    value = row.get(key)
    if not isinstance(value, list | tuple) or len(value) != size:
        raise FieldError(key, f"{size} numbers, one for each of {texts}", value)
    return list(value)


def objects(row: Mapping[str, Any], key: str, holds: str) -> dict[str, Mapping[str, Any]]:
    """The objects of a list by their fields, ``key[0]`` and so on; holds: what is in them, for a message."""
    found = {f"{key}[{k}]": value for k, value in enumerate(items(row, key, f"objects with {holds}"))}
    for name, value in found.items():
        if not isinstance(value, dict):
            raise FieldError(name, f"an object with {holds}", value)
    return found


def score(value: object, field: str) -> float | None:
    """A score; None where it is null or a text, "N/A"."""
    return None if value is None or isinstance(plain(value), str) else number(value, field)


def zero_or_one(row: Mapping[str, Any], key: str, expected: str = "0 or 1") -> int:
    """0 or 1, which may be written as false or true. expected: the two, for a message."""
    value = plain(row.get(key))
    if value not in (0, 1):
        raise FieldError(key, expected, value)
    return int(value)
