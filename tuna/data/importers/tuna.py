"""The house's own record (see tuna.data.record): a question, its original response and its candidates."""

from typing import Any

from tuna.data.fields import FieldError, describe, identity, items, optional_count, optional_number, rest, text
from tuna.data.importers.base import Importer, Notes, RawRow
from tuna.data.messages import asked, read_messages
from tuna.data.record import Candidate, Record

_CANDIDATE = frozenset({"text", "score", "logprob", "num_tokens", "source", "finish_reason", "reasoning"})
_RECORD = frozenset({"id", "instruction", "input", "messages", "output", "responses", "template"})


def read(row: RawRow, where: str, index: int, notes: Notes) -> Record:
    """Read one record. ``responses`` may be absent; a ranking needs two, which its datamodule checks."""
    responses = () if row.get("responses") is None else items(row, "responses", "objects with text and score")
    return Record(
        id=identity(row, index),
        **_question(row),
        output=None if row.get("output") is None else text(row, "output"),
        responses=tuple(_candidate(value, f"responses[{k}]") for k, value in enumerate(responses)),
        template=None if row.get("template") is None else text(row, "template"),
        where=where,
        extra=rest(row, _RECORD),
    )


def _question(row: RawRow) -> dict[str, Any]:
    """The short form, or ``messages``, which what else there is of a question must not contradict."""
    if row.get("messages") is None:
        return {"instruction": text(row, "instruction"), "input": text(row, "input", default="")}
    turns = read_messages(row["messages"], "messages")
    if turns[-1]["role"] not in ("user", "tool"):
        raise FieldError("messages", "the conversation up to the answer", f"{turns[-1]['role']}: its last turn")
    parts = asked(turns)
    short = Record("", text(row, "instruction", default=""), text(row, "input", default="")).user_turn.strip()
    if short and short != parts["instruction"].strip():
        key = "instruction" if row.get("instruction") else "input"
        raise FieldError(key, "the last user turn of messages", short, f"that is {describe(parts['instruction'])}")
    return parts


def _candidate(value: Any, field: str) -> Candidate:
    if not isinstance(value, dict):
        raise FieldError(field, "an object with text and score", value)
    path = field + "."
    return Candidate(
        text=text(value, "text", path=path),
        score=optional_number(value, "score", path),
        logprob=optional_number(value, "logprob", path),
        num_tokens=optional_count(value, "num_tokens", path),
        source=None if value.get("source") is None else text(value, "source", path=path),
        finish_reason=None if value.get("finish_reason") is None else text(value, "finish_reason", path=path),
        extra=rest(value, _CANDIDATE),
        reasoning=None if value.get("reasoning") is None else text(value, "reasoning", path=path),
    )


IMPORTER = Importer(
    "tuna",
    {"instruction|messages": "text|messages", "responses": "objects"},
    read,
    {
        "id": "text|number", "input": "text", "output": "text", "template": "text", "answers": "texts",
        "dropped": "texts", "prompt": "text", "responses[].text": "text",
    },
)  # fmt: skip
