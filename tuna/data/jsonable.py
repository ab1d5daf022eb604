"""A record's other columns as JSON can hold them: what it cannot hold is changed by one rule each, and counted."""

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
    """The record as a line of JSON can carry it. changed: counts the values that became others, by column.

    Raises: FieldError for a value that JSON cannot be made to hold.
    """

    def column(name: str, value: Any, field: str) -> Any:
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
        for kinds, what, change in _RULES:
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


def notes_of(changed: Changed) -> list[str]:
    """What was changed, one line per column and rule.

    >>> notes_of(Changed({("when", "dates and times are ISO text"): 3}))
    ["column 'when': dates and times are ISO text: 3"]
    """
    return [f"column {column!r}: {what}: {count:,}" for (column, what), count in changed.items()]
