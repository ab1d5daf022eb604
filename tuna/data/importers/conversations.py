"""Conversations to be tuned on, and questions without answers."""

from dataclasses import replace

from tuna.data.fields import FieldError, optional_text
from tuna.data.importers.base import Notes, RawRow, importer
from tuna.data.importers.turns import answered, first_key, made, question, read_answer, read_prompt
from tuna.data.messages import read_messages
from tuna.data.record import Record

_ANSWERS = ("output", "response", "completion", "answer", "answers", "responses", "completions", "generations")


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


def _conversation(row: RawRow, key: str, notes: Notes) -> Record:
    """A thought that came apart from the last turn goes with it, as the reasoning of the only candidate."""
    turns = read_messages(row.get(key), key)
    answer = read_answer(row[key], key) if turns[-1]["role"] == "assistant" else None
    prompt = read_prompt(row["prompt"], "prompt") if row.get("prompt") is not None else ()
    asked = question(prompt, turns if answer is None else answer.history, "prompt" if prompt else key)
    record = made(asked, (), notes)
    if answer is None:
        return replace(record, output=optional_text(row, "output"))
    if row.get("output") is not None:
        raise FieldError("output", f"nothing beside {key} that end with the answer", row["output"])
    if answer.reasoning is not None:
        return replace(record, responses=(answer.candidate(0.0),))
    return replace(record, output=answer.text)


@importer({"prompt": "text|messages|message"}, original="error")
def prompts(row: RawRow, notes: Notes) -> Record:
    """Questions without answers, a text or chat messages; rank.py collects answers to them.

    Raises: FieldError for a column of answers, which would not be read.
    """
    key = first_key(row, _ANSWERS)
    if key:
        hint = f"next: datamodule.columns={{instruction: prompt, output: {key}}} for one answer, responses: for a list"
        raise FieldError(key, "no answers beside prompt in this format", row[key], hint)
    return answered(row, "prompt", (), notes)
