"""A question, a list of answers and a list of their scores, under the names of several makers.

ArmoRM's and Snorkel's ``all_generated_responses`` and ``all_rm_scores``, AMPO's ``all_reward_scores``,
ListUltraFeedback's ``all_responses`` and ``scores``, distilabel's ``generations`` and ``ratings``, RRHF's ``query``,
``responses`` and ``scores``. ``chosen`` and ``rejected`` beside a list repeat two of its answers.
"""

from dataclasses import replace
from typing import Any

from tuna.data.fields import FieldError, number, plain
from tuna.data.importers.base import Importer, Notes, RawRow
from tuna.data.importers.turns import (
    first_key,
    made,
    no_other,
    question,
    read_answer,
    read_prompt,
    read_texts,
    same_history,
)
from tuna.data.record import Candidate, Message, Record
from tuna.data.templates import parse_alpaca

_PROMPTS = ("prompt", "query", "instruction", "input")
_TEXTS = ("all_generated_responses", "all_responses", "responses", "generations")
_SCORES = ("all_rm_scores", "all_reward_scores", "scores", "ratings", "rating")
_MODELS = ("generation_models", "generation_model", "model_names")
_PAIR = ("chosen", "rejected")
_USED = {*_PROMPTS, *_TEXTS, *_SCORES, *_PAIR, *_MODELS}


def read(row: RawRow, where: str, index: int, notes: Notes) -> Record:
    """Read one row; answers or scores that are null (or "N/A") are left out of the list and counted."""
    key, scored = (first_key(row, names) or names[0] for names in (_TEXTS, _SCORES))
    texts, scores = read_texts(row, key), row.get(scored)
    if not isinstance(scores, list | tuple) or len(scores) != len(texts):
        raise FieldError(scored, f"{len(texts)} numbers, one for each of {key}", scores)
    no_other(row, key, [name for name in _TEXTS if isinstance(row.get(name), list | tuple)])
    no_other(row, scored, [name for name in _SCORES if _lists(row.get(name), len(texts))])
    rated = [_score(score, f"{scored}[{k}]") for k, score in enumerate(scores)]
    models: list[Any] = next((row[name] for name in _MODELS if isinstance(row.get(name), list)), [])
    sources = [str(name) for name in models] if len(models) == len(texts) else [None] * len(texts)
    candidates = [
        Candidate(text, score, source=source)
        for text, score, source in zip(texts, rated, sources, strict=True)
        if text is not None and score is not None
    ]
    prompt = first_key(row, _PROMPTS) or "prompt"
    # A text called input may be Alpaca's, which belongs to the question.
    no_other(row, prompt, [name for name in _PROMPTS if name != "input" or not isinstance(row.get(name), str)])
    turns = question(read_prompt(row.get(prompt), prompt), _history(row, candidates, notes), prompt)
    record = made(row, where, index, turns, candidates, _USED, notes)
    left_out = [text or "" for text, score in zip(texts, rated, strict=True) if text is None or score is None]
    notes["answers that are null or have no score (N/A), left out"] += len(left_out)
    record = replace(record, extra={**record.extra, "dropped": left_out})
    return _finished(record, notes) if prompt == "query" else record


def _lists(value: Any, count: int) -> bool:
    return isinstance(value, list | tuple) and len(value) == count


def _score(value: Any, field: str) -> float | None:
    if value is None or (isinstance(value, str) and isinstance(plain(value), str)):
        return None
    return number(value, field)


def _history(row: RawRow, candidates: list[Candidate], notes: Notes) -> tuple[Message, ...]:
    """What stands before the answers in chosen and rejected, which must be of the list, and in its order."""
    pair = {key: read_answer(row[key], key) for key in _PAIR if row.get(key) is not None}
    if not pair:
        return ()
    scores = {c.text.strip(): c.score or 0.0 for c in candidates}
    found = [scores.get(answer.text.strip()) for answer in pair.values()]
    if None in found:
        notes["rows whose chosen or rejected answer is not in the list, which alone was read"] += 1
    elif len(found) == 2 and (found[0] or 0.0) < (found[1] or 0.0):
        notes["rows whose chosen answer has a lower score than the rejected one; the scores decide"] += 1
    return same_history(pair)


def _finished(record: Record, notes: Notes) -> Record:
    """RRHF's query is a finished prompt: Alpaca's two are taken apart, others stay as they are."""
    if record.messages:
        return record
    parsed = parse_alpaca(record.instruction)
    if parsed:
        return replace(record, instruction=parsed[0], input=parsed[1])
    if record.instruction.rstrip().endswith(":"):
        notes["queries taken as finished prompts (template none)"] += 1
        return replace(record, template="none")
    return record


IMPORTER = Importer(
    "scored_lists",
    {"|".join(_PROMPTS): "text|messages", "|".join(_TEXTS): "texts", "|".join(_SCORES): "numbers"},
    read,
    {"id": "text|number", **dict.fromkeys(_PAIR, "text|message|messages"), **dict.fromkeys(_MODELS, "texts")},
    original="best",
)
