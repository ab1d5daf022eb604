"""A record's other columns as JSON can hold them: what it cannot is changed by one rule each, and counted."""

import base64
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from tuna.data.fields import FieldError
from tuna.data.record import Record

_HELD = "text, a number, a date or time, bytes, or a list or object of these, which JSON can be made to hold"
Changed = Counter[tuple[str, str]]  # (column, what was done) -> values


def jsonable(record: Record, changed: Changed) -> Record:
    """The record as a line of JSON can carry it.

    changed: counts the values that became others, by column.

    Raises: FieldError for a value that JSON cannot be made to hold.
    """
    return replace(
        record,
        messages=tuple(_column("messages", list(record.messages), changed)),
        tools=tuple(_column("tools", list(record.tools), changed)),
        extra={key: _column(key, value, changed) for key, value in record.extra.items()},
    )


def notes_of(changed: Changed) -> list[str]:
    """What was changed, a line a column and rule.

    >>> notes_of(Changed({("when", "dates and times are ISO text"): 3}))
    ["column 'when': dates and times are ISO text: 3"]
    """
    return [f"column {column!r}: {what}: {count:,}" for (column, what), count in changed.items()]


def _column(name: str, value: Any, changed: Changed) -> Any:
    done: Counter[str] = Counter()
    try:
        found = _value(value, name, done)
    except RecursionError:
        raise FieldError(name, "at most some hundred lists or objects in each other", value) from None
    for what, count in done.items():
        changed[name, what] += count
    return found


def _value(value: Any, field: str, done: Counter[str]) -> Any:
    """One value, and what is inside of it.

    >>> done = Counter()
    >>> _value({"at": date(2026, 3, 1), "price": [Decimal("1.50"), math.nan]}, "sale", done)
    {'at': '2026-03-01', 'price': ['1.50', None]}
    >>> sorted(done)
    ['dates and times are ISO text', 'decimals are text', 'numbers that are not finite are null']
    """
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else _done(done, "numbers that are not finite are null", None)
    if isinstance(value, Mapping):
        found = {str(key): _value(inner, f"{field}.{key}", done) for key, inner in value.items()}
        if len(found) < len(value):
            raise FieldError(field, "keys that differ as text", value)
        return found
    if isinstance(value, list | tuple):
        return [_value(inner, field, done) for inner in value]
    if isinstance(value, date | time):
        return _done(done, "dates and times are ISO text", value.isoformat())
    if isinstance(value, timedelta):
        return _done(done, "durations are seconds", value.total_seconds())
    if isinstance(value, Decimal):
        return _done(done, "decimals are text", str(value))
    if isinstance(value, bytes | bytearray):
        return _done(done, "bytes are base64", base64.b64encode(value).decode())
    if isinstance(value, UUID):
        return str(value)
    raise FieldError(field, _HELD, value)


def _done(done: Counter[str], what: str, value: Any) -> Any:
    done[what] += 1
    return value
