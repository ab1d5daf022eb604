"""A record's other columns as JSON can hold them: what it cannot is changed by one rule each, and counted."""

import base64
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from tuna.data.fields import FieldError
from tuna.data.record import Record

Changed = Counter[tuple[str, str]]  # (column, what was done) -> values

_RULES: tuple[tuple[Any, str, Callable[[Any], Any]], ...] = (
    (float, "numbers that are not finite are null", lambda value: None),
    ((date, time), "dates and times are ISO text", lambda value: value.isoformat()),
    (timedelta, "durations are seconds", timedelta.total_seconds),
    (Decimal, "decimals are text", str),
    ((bytes, bytearray), "bytes are base64", lambda value: base64.b64encode(value).decode()),
)


def jsonable(record: Record, changed: Changed) -> Record:
    """The record as a line of JSON can carry it.

    changed: counts the values that became others, by column.

    Raises: FieldError for a value that JSON cannot be made to hold.
    """

    def column(name: str, value: Any) -> Any:
        done: Counter[str] = Counter()
        found = _value(value, name, done)
        changed.update({(name, what): count for what, count in done.items()})
        return found

    return replace(
        record,
        messages=tuple(column("messages", record.messages)),
        tools=tuple(column("tools", record.tools)),
        extra={key: column(key, value) for key, value in record.extra.items()},
    )


def notes_of(changed: Changed) -> list[str]:
    """What was changed, one line per column and rule.

    >>> notes_of(Changed({("when", "dates and times are ISO text"): 3}))
    ["column 'when': dates and times are ISO text: 3"]
    """
    return [f"column {column!r}: {what}: {count:,}" for (column, what), count in changed.items()]


def _value(value: Any, field: str, done: Counter[str]) -> Any:
    """One value, and what is inside of it.

    >>> done = Counter()
    >>> _value({"at": date(2026, 3, 1), "price": [Decimal("1.50"), math.nan]}, "sale", done)
    {'at': '2026-03-01', 'price': ['1.50', None]}
    >>> sorted(done)
    ['dates and times are ISO text', 'decimals are text', 'numbers that are not finite are null']
    """
    if value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, list | tuple):
        return [_value(inner, field, done) for inner in value]
    if isinstance(value, Mapping):
        found = {str(key): _value(inner, f"{field}.{key}", done) for key, inner in value.items()}
        if len(found) < len(value):
            raise FieldError(field, "keys that differ as text", value)
        return found
    for kinds, what, change in _RULES:
        if isinstance(value, kinds):
            done[what] += 1
            return change(value)
    expected = "text, a number, a date or time, bytes, or a list or object of these, which JSON can be made to hold"
    raise FieldError(field, expected, value)
