"""OpenAssistant's trees: one row per tree, its messages nested by ``replies``; see tuna.data.importers.oasst."""

from collections.abc import Iterator, Mapping
from typing import Any

from tuna.data.fields import FieldError, text
from tuna.data.importers.base import Importer, Notes, RawRow
from tuna.data.importers.oasst import Node, join, node
from tuna.data.record import Record


def read(row: RawRow, where: str, index: int, notes: Notes) -> Record:
    """Read one tree; ``join`` makes questions and answers of its messages."""
    nodes = list(_nodes(row.get("prompt"), None, where, "prompt"))
    return Record(text(row, "message_tree_id"), nodes[0].turn["content"], where=where, extra={"nodes": nodes})


def _nodes(value: Any, parent: str | None, where: str, field: str) -> Iterator[Node]:
    if not isinstance(value, Mapping):
        raise FieldError(field, "a message with text, role and replies", value)
    found = node(value, parent, where, field + ".")
    yield found
    replies = value.get("replies")
    if replies is not None and not isinstance(replies, list):
        raise FieldError(f"{field}.replies", "a list of messages", replies)
    for k, reply in enumerate(replies or ()):
        yield from _nodes(reply, found.id, where, f"{field}.replies[{k}]")


IMPORTER = Importer(
    "oasst_trees",
    {"message_tree_id": "text", "prompt": "object"},
    read,
    {"tree_state": "text"},
    join=join,
    original="best",
)
