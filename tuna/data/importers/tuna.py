"""The house's own record (see tuna.data.record)."""

from typing import Any

from tuna.data.fields import FieldError, identity, items, optional_count, optional_number, rest, text
from tuna.data.importers.base import Importer, RawRow, Shape
from tuna.data.messages import asked, read_messages
from tuna.data.record import Candidate, Record

_CANDIDATE = frozenset({"text", "score", "logprob", "num_tokens", "source", "finish_reason", "reasoning"})
_RECORD = frozenset({"id", "instruction", "input", "output", "responses", "template", "messages", "tools"})


def read(row: RawRow, where: str, index: int) -> Record:
    """Read one record. ``responses`` may be absent; a ranking needs two, which its datamodule checks.

    ``messages`` (and ``tools``) stand for ``instruction`` and ``input``; an instruction beside them is the last user
    turn again, or an error.
    """
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
    if row.get("messages") is None:
        return {"instruction": text(row, "instruction"), "input": text(row, "input", default="")}
    tools = [] if row.get("tools") is None else items(row, "tools", "functions")
    found = asked(read_messages(row["messages"], "messages"), tools)
    for key, wanted in (("instruction", found["instruction"]), ("input", "")):
        if row.get(key) not in (None, wanted):
            raise FieldError(key, "the last user turn of messages, or nothing", row[key])
    return found


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


_ALSO = {
    "id": "anything", "input": "a string", "output": "a string", "template": "a string", "instruction": "a string",
    "messages": "chat messages", "tools": "a list of objects", "dropped": "a list", "judge": "anything",
}  # fmt: skip
_QUESTIONS = {"instruction": "a string", "messages": "chat messages"}
IMPORTER = Importer(
    "tuna",
    tuple(Shape({question: kind, "responses": "a list of objects"}, _ALSO) for question, kind in _QUESTIONS.items()),
    read,
)
