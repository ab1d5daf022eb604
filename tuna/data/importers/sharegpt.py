"""ShareGPT's ``conversations`` of {from, value}: the last assistant turn is the original response."""

from tuna.data.importers.base import Importer, Notes, RawRow
from tuna.data.importers.chat import conversation
from tuna.data.record import Record


def read(row: RawRow, where: str, index: int, notes: Notes) -> Record:
    """Read one row; see tuna.data.importers.chat."""
    return conversation(row, "conversations", where, index, notes)


IMPORTER = Importer(
    "sharegpt", {"conversations": "messages"}, read, {"id": "text|number", "prompt": "text|messages"}, original="best"
)
