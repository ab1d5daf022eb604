"""OpenAssistant's flat messages: one row per message, joined into lists of sibling replies by their rank.

A question is the path from the root to a prompter's message; its replies are the candidates, the score is minus the
rank (0 is the best).
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuna.data.fields import Cell, FieldError, check_text, optional_number, plain, rest, text
from tuna.data.importers.base import Imported, Importer, Notes, RawRow
from tuna.data.messages import asked
from tuna.data.record import Candidate, Message, Record

_ROLES = {"prompter": "user", "user": "user", "assistant": "assistant"}
_USED = frozenset({"message_id", "parent_id", "text", "role", "rank", "replies"})


@dataclass(frozen=True, slots=True)
class Node:
    """One message of a tree."""

    id: str
    parent: str | None
    turn: Message
    rank: float | None
    where: str
    deleted: bool
    extra: Mapping[str, Any]


def node(row: Mapping[str, Any], parent: str | None, where: str, path: str = "") -> Node:
    """A message of its row; path: where in the row it stands."""
    role = text(row, "role", path=path)
    if role not in _ROLES:
        raise FieldError(path + "role", "prompter or assistant", role)
    rank = None if isinstance(row.get("rank"), str) and not isinstance(row["rank"], Cell) else row.get("rank")
    return Node(
        text(row, "message_id", path=path), parent, {"role": _ROLES[role], "content": text(row, "text", path=path)},
        optional_number({"rank": rank}, "rank", path), where, bool(plain(row.get("deleted"))), rest(row, _USED),
    )  # fmt: skip


def read(row: RawRow, where: str, index: int, notes: Notes) -> Record:
    """Read one message; ``join`` makes questions and answers of all."""
    parent = None if row.get("parent_id") is None else check_text(row["parent_id"], "parent_id")
    found = node(row, parent, where)
    root = row.get("message_tree_id") in (None, found.id)
    if parent is None and (found.turn["role"] == "assistant" or not root):
        raise FieldError("parent_id", "the message_id of the message before, which only a first prompt lacks", None)
    return Record(found.id, found.turn["content"], where=where, extra={"nodes": [found]})


def join(records: Sequence[Record], notes: Notes) -> Iterator[Imported]:
    """One list per prompter's message that was answered."""
    nodes = {n.id: n for record in records for n in record.extra["nodes"]}
    replies = defaultdict(list)
    for n in nodes.values():
        if n.turn["role"] != "assistant":
            continue
        if n.deleted:
            notes["replies that were deleted, left out"] += 1
        else:
            replies[n.parent].append(n)
    for parent, siblings in replies.items():
        path = _path(nodes, parent)
        if path is None:
            notes["replies without all messages before them, left out"] += len(siblings)
        else:
            yield path[-1].where, _list(path, siblings, notes)


def _path(nodes: Mapping[str, Node], last: str | None) -> list[Node] | None:
    """The messages from the root to ``last``; None where one is not in the file, or two are each other's parent."""
    found: list[Node] = []
    while last is not None:
        if last not in nodes or nodes[last] in found:
            return None
        found.insert(0, nodes[last])
        last = nodes[last].parent
    return found


def _list(path: Sequence[Node], siblings: Sequence[Node], notes: Notes) -> Record | FieldError:
    ranked = [n for n in siblings if n.rank is not None]
    if not ranked and len(siblings) > 1:
        return FieldError("rank", "a number for each of the replies to this message", None)
    kept = ranked or siblings
    notes["replies without a rank beside ranked ones, left out"] += len(siblings) - len(kept)
    return Record(
        id=path[-1].id,
        **asked([n.turn for n in path]),
        responses=tuple(
            Candidate(n.turn["content"], 0.0 - (n.rank or 0.0), extra={"message_id": n.id, **n.extra}) for n in kept
        ),
        where=path[-1].where,
        extra={**path[-1].extra, "dropped": [n.turn["content"] for n in siblings if n not in kept]},
    )


IMPORTER = Importer(
    "oasst",
    {"message_id": "text", "parent_id|message_tree_id": "text|null", "text": "text", "role": "text"},
    read,
    {"rank": "number|null", "deleted": "flag", "lang": "text", "tree_state": "text"},
    join=join,
    original="best",
)
