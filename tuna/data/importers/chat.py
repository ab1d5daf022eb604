"""Conversations to be tuned on: ``messages``, whose last assistant turn is the original response, or ``output`` is.

A conversation that ends with the user's turn is a question without an answer.
"""

from dataclasses import replace

from tuna.data.fields import FieldError, text
from tuna.data.importers.base import Importer, Notes, RawRow
from tuna.data.importers.turns import made, question, read_answer, read_prompt
from tuna.data.messages import read_messages
from tuna.data.record import Record


def read(row: RawRow, where: str, index: int, notes: Notes) -> Record:
    """Read one row; ``prompt`` beside the messages must be one of the user's turns."""
    return conversation(row, "messages", where, index, notes)


def conversation(row: RawRow, key: str, where: str, index: int, notes: Notes) -> Record:
    """The record of the conversation under ``key``.

    A thought that came apart from the last turn goes with it, as the reasoning of the only candidate.
    """
    turns = read_messages(row.get(key), key)
    answer = read_answer(row[key], key) if turns[-1]["role"] == "assistant" else None
    prompt = read_prompt(row["prompt"], "prompt") if row.get("prompt") is not None else ()
    asked = question(prompt, turns if answer is None else answer.history, "prompt" if prompt else key)
    record = made(row, where, index, asked, (), {key, "prompt", "output"}, notes)
    if row.get("output") is not None:
        if answer is not None:
            raise FieldError("output", f"nothing beside {key} that end with the answer", row["output"])
        return replace(record, output=text(row, "output"))
    if answer is None:
        return record
    if answer.reasoning is not None:
        return replace(record, responses=(answer.candidate(0.0),))
    return replace(record, output=answer.text)


IMPORTER = Importer(
    "chat",
    {"messages": "messages"},
    read,
    {"id": "text|number", "prompt": "text|messages", "output": "text"},
    original="best",
)
