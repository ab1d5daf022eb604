"""Chosen/rejected pairs as lists of two: texts beside a prompt, or chat message lists that may hold the prompt."""

from typing import Any

from tuna.data.fields import FieldError, check_text, identity, rest
from tuna.data.importers.base import Importer, RawRow
from tuna.data.record import Candidate, Record

_PROMPTS = ("prompt", "instruction", "question")
_USED = frozenset({"id", "chosen", "rejected", "input", *_PROMPTS})


def recognize(row: RawRow) -> bool:
    """A row with ``chosen`` or ``rejected`` (both are needed; the missing one is named)."""
    return "chosen" in row or "rejected" in row


def read(row: RawRow, where: str, index: int) -> Record:
    """Read one row: ``chosen`` gets score 1, ``rejected`` 0; the chosen one is the original unless told otherwise."""
    asked, chosen = _answer(row, "chosen")
    _, rejected = _answer(row, "rejected")
    key = next((k for k in _PROMPTS if row.get(k) is not None), None)
    if key is not None:
        asked = _prompt(row[key], key)
    if asked is None:
        raise FieldError("prompt", "a string or a list of chat messages", None)
    return Record(
        id=identity(row, index),
        instruction=asked,
        input="" if row.get("input") is None else check_text(row["input"], "input"),
        responses=(Candidate(chosen, score=1.0), Candidate(rejected, score=0.0)),
        where=where,
        extra=rest(row, _USED),
    )


def _answer(row: RawRow, key: str) -> tuple[str | None, str]:
    """The prompt that stands before the answer, if any, and the answer."""
    value = row.get(key)
    if not isinstance(value, list):
        return None, check_text(value, key)
    if not value or _role(value[-1], f"{key}[-1]") != "assistant":
        raise FieldError(key, "chat messages that end with the assistant's", value)
    answer = check_text(value[-1].get("content"), f"{key}[-1].content")
    return (_turns(value[:-1], key) if len(value) > 1 else None), answer


def _prompt(value: Any, key: str) -> str:
    return _turns(value, key) if isinstance(value, list) else check_text(value, key)


def _turns(messages: list[Any], key: str) -> str:
    """One instruction from chat messages: a single user's turn as it is, several with their roles before them."""
    if not messages:
        raise FieldError(key, "one chat message or more", messages)
    said = [
        (_role(m, f"{key}[{k}]"), check_text(m.get("content"), f"{key}[{k}].content")) for k, m in enumerate(messages)
    ]
    if len(said) == 1:
        return said[0][1]
    return "\n\n".join(f"{role.capitalize()}: {content}" for role, content in said)


def _role(message: Any, field: str) -> str:
    if not isinstance(message, dict):
        raise FieldError(field, "a chat message with role and content", message)
    return check_text(message.get("role"), f"{field}.role")


IMPORTER = Importer("pairs", "prompt, chosen, rejected", recognize, read, original="best")
