"""Conversations; OpenAssistant's trees: lists of the replies to one message, each with the score minus its rank."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tuna.data import fields
from tuna.data.fields import FieldError
from tuna.data.importers.base import Imported, Notes, RawRow, importer
from tuna.data.importers.turns import made, question, read_answer, read_prompt
from tuna.data.messages import asked, read_messages
from tuna.data.record import Candidate, Message, Record

_ROLES = {"prompter": "user", "user": "user", "assistant": "assistant"}
_READ = {"message_id", "parent_id", "text", "role", "rank", "replies"}


@importer({"messages": "messages"}, optional={"prompt": "text|messages", "output": "text"})
def chat(row: RawRow, notes: Notes) -> Record:
    """``messages``, whose last assistant turn is the original response, or ``output`` is.

    A conversation that ends with the user's turn is a question without an answer. ``prompt`` beside the messages must
    be one of the user's turns.
    """
    return _conversation(row, "messages", notes)


@importer({"conversations": "messages"}, optional={"prompt": "text|messages", "output": "text"})
def sharegpt(row: RawRow, notes: Notes) -> Record:
    """ShareGPT's ``conversations`` of {from, value}; otherwise as ``chat``."""
    return _conversation(row, "conversations", notes)


@importer({"conversations": "texts"}, kept={"source": "text"})
def lima(row: RawRow, notes: Notes) -> Record:
    """LIMA's ``conversations``: texts, the user's and the assistant's in turn; otherwise as ``chat``."""
    said = fields.items(row, "conversations", "texts")
    turns = [
        {"role": ("user", "assistant")[k % 2], "content": fields.check_text(text, f"conversations[{k}]")}
        for k, text in enumerate(said)
    ]
    return _conversation({**row, "conversations": turns}, "conversations", notes)


def _conversation(row: RawRow, key: str, notes: Notes) -> Record:
    """A thought that came apart from the last turn goes with it, as the reasoning of the only candidate."""
    turns = read_messages(row.get(key), key)
    answer = read_answer(row[key], key) if turns[-1]["role"] == "assistant" else None
    prompt = read_prompt(row["prompt"], "prompt") if row.get("prompt") is not None else ()
    before = turns if answer is None else answer.history
    record = made(question(prompt, before, "prompt" if prompt else key), (), notes)
    if answer is None:
        return replace(record, output=fields.optional_text(row, "output"))
    if row.get("output") is not None:
        raise FieldError("output", f"nothing beside {key} that end with the answer", row["output"])
    if answer.candidate.reasoning is not None:
        return replace(record, responses=(replace(answer.candidate, score=0.0),))
    return replace(record, output=answer.candidate.text)


@dataclass(frozen=True, slots=True)
class _Node:
    """One message of a tree. where: its row."""

    id: str
    parent: str | None
    turn: Message
    rank: float | None
    deleted: bool
    extra: Mapping[str, Any]
    where: str = ""


def _node(row: Mapping[str, Any], parent: str | None, path: str = "") -> _Node:
    role = fields.text(row, "role", path=path)
    if role not in _ROLES:
        raise FieldError(path + "role", "prompter or assistant", role)
    turn = {"role": _ROLES[role], "content": fields.text(row, "text", path=path)}
    return _Node(
        fields.text(row, "message_id", path=path), parent, turn,
        fields.score(row.get("rank"), path + "rank"), bool(fields.plain(row.get("deleted"))), fields.rest(row, _READ),
    )  # fmt: skip


def _join(records: Sequence[Record], notes: Notes) -> Iterator[Imported]:
    nodes = {n.id: replace(n, where=record.where) for record in records for n in record.extra["nodes"]}
    replies = defaultdict(list)
    for n in (n for n in nodes.values() if n.turn["role"] == "assistant"):
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


def _path(nodes: Mapping[str, _Node], last: str | None) -> list[_Node] | None:
    """The messages from the root to ``last``; None where one is not in the file, or two are each other's parent."""
    found: list[_Node] = []
    while last is not None:
        if last not in nodes or nodes[last] in found:
            return None
        found.insert(0, nodes[last])
        last = found[0].parent
    return found


def _list(path: Sequence[_Node], siblings: Sequence[_Node], notes: Notes) -> Record | FieldError:
    ranked = [n for n in siblings if n.rank is not None]
    if not ranked and len(siblings) > 1:
        return FieldError("rank", "a number for each of the replies to this message", None)
    kept = ranked or siblings
    notes["replies without a rank beside ranked ones, left out"] += len(siblings) - len(kept)
    responses = tuple(
        Candidate(n.turn["content"], 0.0 - (n.rank or 0.0), extra={"message_id": n.id, **n.extra}) for n in kept
    )
    last, turns = path[-1], asked([n.turn for n in path])
    extra = {**last.extra, "dropped": [n.turn["content"] for n in siblings if n not in kept]}
    return Record(last.id, **turns, responses=responses, where=last.where, extra=extra)


@importer(
    {"message_id": "text", "parent_id|message_tree_id": "text|null", "text": "text", "role": "text"},
    optional={"rank": "number|null"},
    kept={"deleted": "flag", "lang": "text", "tree_state": "text"},
    join=_join,
)
def oasst(row: RawRow, notes: Notes) -> Record:
    """One message."""
    parent = fields.optional_text(row, "parent_id")
    found = _node(row, parent)
    root = row.get("message_tree_id") in (None, found.id)
    if parent is None and (found.turn["role"] == "assistant" or not root):
        raise FieldError("parent_id", "the message_id of the message before, which only a first prompt lacks", None)
    return Record(found.id, found.turn["content"], extra={"nodes": [found]})


@importer({"message_tree_id": "text", "prompt": "object"}, kept={"tree_state": "text"}, join=_join)
def oasst_trees(row: RawRow, notes: Notes) -> Record:
    """One tree, its messages nested by ``replies``."""
    nodes = list(_nodes(row.get("prompt"), None, "prompt"))
    return Record(fields.text(row, "message_tree_id"), nodes[0].turn["content"], extra={"nodes": nodes})


def _nodes(value: object, parent: str | None, field: str) -> Iterator[_Node]:
    if not isinstance(value, Mapping):
        raise FieldError(field, "a message with text, role and replies", value)
    found = _node(value, parent, field + ".")
    yield found
    replies = value.get("replies")
    if replies is not None and not isinstance(replies, list):
        raise FieldError(f"{field}.replies", "a list of messages", replies)
    for k, reply in enumerate(replies or ()):
        yield from _nodes(reply, found.id, f"{field}.replies[{k}]")
