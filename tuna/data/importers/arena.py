"""Chatbot Arena (lmarena-ai): two conversations and the winner; a tie, and both bad, are equal scores."""

from tuna.data.fields import FieldError, text
from tuna.data.importers.base import Importer, Notes, RawRow
from tuna.data.importers.turns import made, question, read_answer, same_history
from tuna.data.record import Record

_SCORES = {
    "model_a": (1.0, 0.0),
    "model_b": (0.0, 1.0),
    "tie": (0.0, 0.0),
    "both_bad": (0.0, 0.0),
    "tie (bothbad)": (0.0, 0.0),
}


def read(row: RawRow, where: str, index: int, notes: Notes) -> Record:
    """Read one row.

    Raises: FieldError for a battle of several turns in which the models' earlier answers differ: no common question.
    """
    winner = text(row, "winner")
    if winner not in _SCORES:
        raise FieldError("winner", "model_a, model_b, tie or both_bad", winner)
    answers = {key: read_answer(row.get(key), key) for key in ("conversation_a", "conversation_b")}
    turns = question((), same_history(answers), "conversation_a")
    if winner == "tie":
        notes["battles that were a tie"] += 1
    elif "bad" in winner:
        notes["battles in which both were bad, taken as ties"] += 1
    names = [None if row.get(key) is None else text(row, key) for key in ("model_a", "model_b")]
    both = [
        answer.candidate(score, source=name)
        for answer, score, name in zip(answers.values(), _SCORES[winner], names, strict=True)
    ]
    used = {"winner", "conversation_a", "conversation_b", "model_a", "model_b"}
    return made(row, where, index, turns, both, used, notes)


IMPORTER = Importer(
    "arena",
    {"winner": "text", "conversation_a": "messages", "conversation_b": "messages"},
    read,
    {"id": "text|number", "model_a": "text", "model_b": "text"},
    original="best",
)
