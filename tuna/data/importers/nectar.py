"""Nectar (berkeley-nest): a prompt, mostly a transcript, and answers with a rank; the score is minus the rank.

The best has rank 1.
"""

from typing import Any

from tuna.data.fields import FieldError, items, number, optional_count, rest, text
from tuna.data.importers.base import Importer, Notes, RawRow
from tuna.data.importers.turns import made, question, read_prompt
from tuna.data.record import Candidate, Record


def read(row: RawRow, where: str, index: int, notes: Notes) -> Record:
    """Read one row; equal ranks are ties."""
    answers = items(row, "answers", "objects with answer and rank")
    told = optional_count(row, "num_responses")
    if told is not None and told != len(answers):
        notes["rows with another number of answers than num_responses"] += 1
    turns = question(read_prompt(row.get("prompt"), "prompt"), (), "prompt")
    candidates = [_candidate(answer, f"answers[{k}]") for k, answer in enumerate(answers)]
    return made(row, where, index, turns, candidates, {"prompt", "answers"}, notes)


def _candidate(value: Any, field: str) -> Candidate:
    if not isinstance(value, dict):
        raise FieldError(field, "an object with answer and rank", value)
    return Candidate(
        text(value, "answer", path=field + "."),
        score=-number(value.get("rank"), f"{field}.rank"),
        source=None if value.get("model") is None else text(value, "model", path=field + "."),
        extra=rest(value, frozenset({"answer", "rank", "model"})),
    )


IMPORTER = Importer(
    "nectar",
    {"prompt": "text|messages", "answers[].answer": "text", "answers[].rank": "number"},
    read,
    {
        "id": "text|number",
        "answers[].model": "text",
        "turns": "number",
        "num_responses": "number",
        "good_natured": "flag",
    },
    original="best",
)
