"""UltraFeedback (openbmb): an instruction and completions with annotations; ``fine-grained_score`` is the score.

``overall_score`` is not used: it was wrong in thousands of rows until the end of 2023. The system prompts and
principles of the completions differ, so they stay with the answers and are no part of the question.
"""

from dataclasses import replace
from typing import Any

from tuna.data.fields import FieldError, items, number, rest, text
from tuna.data.importers.base import Importer, Notes, RawRow
from tuna.data.importers.turns import made, question, read_prompt
from tuna.data.record import Candidate, Record

_SCORE = "fine-grained_score"
_HINT = (
    "overall_score was wrong in many rows until 2023-12-29; to take it: "
    "datamodule.columns={instruction: instruction, responses: completions, text: response, score: overall_score}"
)


def read(row: RawRow, where: str, index: int, notes: Notes) -> Record:
    """Read one row; completions that were not rated are left out of the list and counted.

    Raises: FieldError where no completion has a fine-grained score.
    """
    completions = items(row, "completions", "objects with response")
    for k, completion in enumerate(completions):
        if not isinstance(completion, dict):
            raise FieldError(f"completions[{k}]", "an object with response", completion)
    if completions and all(completion.get(_SCORE) is None for completion in completions):
        raise FieldError(f"completions[].{_SCORE}", "a finite number", None, _HINT)
    read_all = [_candidate(completion, f"completions[{k}]") for k, completion in enumerate(completions)]
    kept = [candidate for candidate in read_all if candidate.score is not None]
    turns = question(read_prompt(row.get("instruction"), "instruction"), (), "instruction")
    record = made(row, where, index, turns, kept, {"instruction", "completions"}, notes)
    notes["completions without a fine-grained_score (N/A), left out"] += len(read_all) - len(kept)
    notes["completions with a rating N/A, which their fine-grained_score leaves out"] += sum(map(_partly_rated, kept))
    return replace(record, extra={**record.extra, "dropped": [c.text for c in read_all if c.score is None]})


def _candidate(value: dict[str, Any], field: str) -> Candidate:
    score = value.get(_SCORE)
    unrated = score is None or (isinstance(score, str) and score.strip().upper() in ("N/A", "NA", ""))
    return Candidate(
        text(value, "response", path=field + "."),
        score=None if unrated else number(score, f"{field}.{_SCORE}"),
        source=None if value.get("model") is None else text(value, "model", path=field + "."),
        extra=rest(value, frozenset({"response", "model", _SCORE})),
    )


def _partly_rated(candidate: Candidate) -> bool:
    annotations = candidate.extra.get("annotations")
    ratings = annotations.values() if isinstance(annotations, dict) else ()
    return any(isinstance(rating, dict) and rating.get("Rating") == "N/A" for rating in ratings)


IMPORTER = Importer(
    "ultrafeedback",
    {"instruction": "text", "completions[].response": "text"},
    read,
    {
        "id": "text|number", "models": "texts", "correct_answers": "texts", "incorrect_answers": "texts",
        "completions[].fine-grained_score": "number|text", "completions[].model": "text",
    },
    original="best",
)  # fmt: skip
