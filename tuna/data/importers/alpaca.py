"""Alpaca's rows: instruction, input, output. They become records without responses."""

from tuna.data.fields import identity, rest, text
from tuna.data.importers.base import Importer, RawRow
from tuna.data.record import Record

_USED = frozenset({"id", "instruction", "input", "output"})


def recognize(row: RawRow) -> bool:
    """A row with ``instruction``, without lists in it."""
    return "instruction" in row and "responses" not in row and not isinstance(row.get("output"), list)


def read(row: RawRow, where: str, index: int) -> Record:
    """Read one row; its id is its ``id`` field, else its place in the file from 0."""
    return Record(
        id=identity(row, index),
        instruction=text(row, "instruction"),
        input=text(row, "input", default=""),
        output=None if row.get("output") is None else text(row, "output"),
        where=where,
        extra=rest(row, _USED),
    )


IMPORTER = Importer("alpaca", "instruction, input, output", recognize, read)
