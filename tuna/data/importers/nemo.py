"""NeMo-RL's preferences: a context and completions with a rank from 0, the best; the score is minus the rank."""

from typing import Any

from tuna.data.fields import FieldError, items, number, rest
from tuna.data.importers.base import Importer, Notes, RawRow
from tuna.data.importers.turns import made, question, read_answer, read_prompt, same_history
from tuna.data.record import Record


def read(row: RawRow, where: str, index: int, notes: Notes) -> Record:
    """Read one row; a ``reward`` stays with its answer."""
    completions = items(row, "completions", "objects with completion and rank")
    answers = {
        f"completions[{k}].completion": _answer(value, f"completions[{k}]") for k, value in enumerate(completions)
    }
    history = same_history(answers) if answers else ()
    turns = question(read_prompt(row.get("context"), "context"), history, "context")
    candidates = [
        answer.candidate(
            -number(value.get("rank"), f"completions[{k}].rank"), extra=rest(value, frozenset({"completion", "rank"}))
        )
        for k, (value, answer) in enumerate(zip(completions, answers.values(), strict=True))
    ]
    return made(row, where, index, turns, candidates, {"context", "completions"}, notes)


def _answer(value: Any, field: str) -> Any:
    if not isinstance(value, dict):
        raise FieldError(field, "an object with completion and rank", value)
    return read_answer(value.get("completion"), f"{field}.completion")


IMPORTER = Importer(
    "nemo",
    {"context": "messages|text", "completions[].completion": "messages|text", "completions[].rank": "number"},
    read,
    {"id": "text|number", "completions[].reward": "number", "task_name": "text"},
    original="best",
)
