"""Alpaca's rows: instruction, input, output. They become records without responses.

LLaMA-Factory's ``history``, pairs [question, answer] of earlier turns, comes before the question.
"""

from typing import Any

from tuna.data.fields import FieldError, check_text, identity, rest, text
from tuna.data.importers.base import Importer, Notes, RawRow, spoken
from tuna.data.record import Message, Record

_USED = frozenset({"id", "instruction", "input", "output", "history"})


def read(row: RawRow, where: str, index: int, notes: Notes) -> Record:
    """Read one row; its id is its ``id`` field, else its place in the file from 0."""
    record = Record(
        id=identity(row, index),
        instruction=text(row, "instruction"),
        input=text(row, "input", default=""),
        output=None if row.get("output") is None else text(row, "output"),
        where=where,
        extra=rest(row, _USED),
    )
    before = read_history(row.get("history"))
    return record if not before else spoken(record, *before)


def read_history(value: Any) -> tuple[Message, ...]:
    """Earlier turns, of a list of pairs [question, answer]."""
    turns: list[Message] = []
    for k, said in enumerate(value or ()):
        if not isinstance(said, list | tuple) or len(said) != 2:
            raise FieldError(f"history[{k}]", "a question and its answer", said)
        for role, content in zip(("user", "assistant"), said, strict=True):
            turns.append({"role": role, "content": check_text(content, f"history[{k}]")})
    return tuple(turns)


# answers: what the checker of the embedded instructions looks for.
IMPORTER = Importer(
    "alpaca",
    {"instruction": "text"},
    read,
    {"id": "text|number", "input": "text", "output": "text", "history": "list", "answers": "texts", "prompt": "text"},
)
