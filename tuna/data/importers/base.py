"""What an importer is: a format's name, how to know a row of it, how to read one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tuna.data.record import Record

RawRow = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Importer:
    """One file format. A module of this folder that has ``IMPORTER`` is found by listing the folder.

    read(row, where, index) gives the record or raises tuna.data.fields.FieldError; index counts rows from 0.
    original: what ``datamodule.original=error`` means here: "best" where the format says which answer is wanted.
    hint: the next thing to do when a record lacks ``output``.
    """

    name: str
    fields: str
    recognize: Callable[[RawRow], bool]
    read: Callable[[RawRow, str, int], Record]
    original: Literal["error", "best"] = "error"
    hint: str = "set datamodule.original=best, none or FILE (Alpaca rows, joined by id)"
