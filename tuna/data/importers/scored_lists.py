"""A question and answers, each with a score or a rank: in one row, or a row per answer, joined by the question."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tuna.data import fields
from tuna.data.fields import FieldError
from tuna.data.importers.base import Imported, Notes, RawRow, importer
from tuna.data.importers.turns import answered, joined, read_answer, same_history
from tuna.data.record import Candidate, Message, Record
from tuna.data.templates import parse_alpaca

_PROMPTS = ("prompt", "query", "instruction", "input")
_TEXTS = ("all_generated_responses", "all_responses", "responses", "generations")
_SCORES = ("all_rm_scores", "all_reward_scores", "scores", "ratings", "rating")
_MODELS = ("generation_models", "generation_model", "model_names")
_PAIR = ("chosen", "rejected")
_RATINGS = ("correctness", "coherence", "complexity", "verbosity")
_SCORE = "fine-grained_score"
_HINT = (
    "overall_score was wrong in many rows until 2023-12-29; to take it: "
    "datamodule.columns={instruction: instruction, responses: completions, text: response, score: overall_score}"
)


@importer(
    {"|".join(_PROMPTS): "text|messages", "|".join(_TEXTS): "texts", "|".join(_SCORES): "numbers"},
    optional={**dict.fromkeys(_PAIR, "text|message|messages"), **dict.fromkeys(_MODELS, "texts")},
)
def scored_lists(row: RawRow, notes: Notes) -> Record:
    """A list of answers and a list of their scores, under the names of several makers (docs/data.md).

    ``chosen`` and ``rejected`` beside a list repeat two of its answers. Answers or scores that are null (or "N/A") are
    left out of the list and counted.
    """
    key, scored, prompt = (fields.first_key(row, names) or names[0] for names in (_TEXTS, _SCORES, _PROMPTS))
    texts = fields.texts(row, key, holes=True)
    scores = fields.beside(row, scored, key, len(texts))
    lists = {name for name, value in row.items() if isinstance(value, list | tuple)}
    fields.no_other(row, key, [name for name in _TEXTS if name in lists])
    fields.no_other(row, scored, [name for name in _SCORES if name in lists and len(row[name]) == len(texts)])
    # A text called input may be Alpaca's, which belongs to the question.
    fields.no_other(row, prompt, [name for name in _PROMPTS if name != "input" or not isinstance(row.get(name), str)])
    models: Any = next((row[name] for name in _MODELS if name in lists), ())
    sources = map(str, models) if len(models) == len(texts) else [None] * len(texts)
    found = [
        Candidate(said or "", None if said is None else fields.score(score, f"{scored}[{k}]"), source=source)
        for k, (said, score, source) in enumerate(zip(texts, scores, sources, strict=True))
    ]
    kept = [c for c in found if c.score is not None]
    record = answered(row, prompt, kept, notes, _history(row, kept, notes))
    notes["answers that are null or have no score (N/A), left out"] += len(found) - len(kept)
    record = replace(record, extra={"dropped": [c.text for c in found if c.score is None]})
    return _finished(record, notes) if prompt == "query" else record


def _history(row: RawRow, candidates: list[Candidate], notes: Notes) -> tuple[Message, ...]:
    """What stands before the answers in chosen and rejected, which must be of the list, and in its order."""
    pair = {key: read_answer(row[key], key) for key in _PAIR if row.get(key) is not None}
    scores = {c.text.strip(): c.score or 0.0 for c in candidates}
    found = [scores[text] for text in (a.candidate.text.strip() for a in pair.values()) if text in scores]
    if len(found) < len(pair):
        notes["rows whose chosen or rejected answer is not in the list, which alone was read"] += 1
    elif len(found) == 2 and found[0] < found[1]:
        notes["rows whose chosen answer has a lower score than the rejected one; the scores decide"] += 1
    return same_history(pair)


def _finished(record: Record, notes: Notes) -> Record:
    """RRHF's query is a finished prompt: Alpaca's two are taken apart, others stay as they are."""
    parsed = None if record.messages else parse_alpaca(record.instruction)
    if parsed:
        return replace(record, instruction=parsed[0], input=parsed[1])
    if record.messages or not record.instruction.rstrip().endswith(":"):
        return record
    notes["queries taken as finished prompts (template none)"] += 1
    return replace(record, template="none")


@importer(
    {"instruction": "text", "completions[].response": "text"},
    optional={"completions[].fine-grained_score": "number|text", "completions[].model": "text"},
    kept={"models": "texts", "correct_answers": "texts", "incorrect_answers": "texts"},
)
def ultrafeedback(row: RawRow, notes: Notes) -> Record:
    """UltraFeedback (openbmb): completions with annotations; ``fine-grained_score`` is the score.

    ``overall_score`` was wrong in thousands of rows until the end of 2023. The completions' system prompts and
    principles differ, so they stay with the answers. Completions that were not rated are left out and counted.
    """
    completions = fields.objects(row, "completions", "response")
    if completions and all(completion.get(_SCORE) is None for completion in completions.values()):
        raise FieldError(f"completions[].{_SCORE}", "a finite number", None, _HINT)
    found = [_of_object(field, value, "response", _SCORE) for field, value in completions.items()]
    kept = [candidate for candidate in found if candidate.score is not None]
    notes["completions without a fine-grained_score (N/A), left out"] += len(found) - len(kept)
    notes["completions with a rating N/A, which their fine-grained_score leaves out"] += sum(map(_partly_rated, kept))
    record = answered(row, "instruction", kept, notes)
    return replace(record, extra={"dropped": [c.text for c in found if c.score is None]})


def _of_object(field: str, value: RawRow, answer: str, score: str) -> Candidate:
    return Candidate(
        fields.text(value, answer, path=field + "."), fields.score(value.get(score), f"{field}.{score}"),
        source=fields.optional_text(value, "model", field + "."), extra=fields.rest(value, {answer, score, "model"}),
    )  # fmt: skip


def _partly_rated(candidate: Candidate) -> bool:
    annotations = candidate.extra.get("annotations")
    ratings = annotations.values() if isinstance(annotations, dict) else ()
    return any(isinstance(rating, dict) and rating.get("Rating") == "N/A" for rating in ratings)


@importer(
    {"prompt": "text|messages", "answers[].answer": "text", "answers[].rank": "number"},
    optional={"answers[].model": "text"},
    kept={"turns": "number", "num_responses": "number", "good_natured": "flag"},
)
def nectar(row: RawRow, notes: Notes) -> Record:
    """Nectar (berkeley-nest): a prompt, mostly a transcript; the score is minus the rank (1 is the best)."""
    answers = fields.objects(row, "answers", "answer and rank")
    if fields.optional_count(row, "num_responses") not in (None, len(answers)):
        notes["rows with another number of answers than num_responses"] += 1
    ranked = []
    for field, value in answers.items():
        score = -fields.number(value.get("rank"), f"{field}.rank")
        ranked.append(replace(_of_object(field, value, "answer", "rank"), score=score))
    return answered(row, "prompt", ranked, notes)


@importer(
    {"context": "messages|text", "completions[].completion": "messages|text", "completions[].rank": "number"},
    optional={"completions[].reward": "number"},
    kept={"task_name": "text"},
)
def nemo(row: RawRow, notes: Notes) -> Record:
    """NeMo-RL's preferences: the score is minus the rank (0 is the best); a ``reward`` stays with its answer."""
    ranked = fields.objects(row, "completions", "completion and rank")
    answers, candidates = {}, []
    for field, value in ranked.items():
        key = f"{field}.completion"
        answers[key] = answer = read_answer(value.get("completion"), key)
        score, extra = -fields.number(value.get("rank"), f"{field}.rank"), fields.rest(value, {"completion", "rank"})
        candidates.append(replace(answer.candidate, score=score, extra=extra))
    return answered(row, "context", candidates, notes, same_history(answers))


@importer(
    {"prompt": "text|messages", "response": "text", "helpfulness": "number"},
    optional=dict.fromkeys(_RATINGS, "number"),
    join=joined,
)
def helpsteer2(row: RawRow, notes: Notes) -> Record:
    """HelpSteer2 (nvidia): one row per response; ``helpfulness`` is the score, the other ratings stay with it."""
    score = fields.number(row.get("helpfulness"), "helpfulness")
    ratings = {key: fields.number(row[key], key) for key in _RATINGS if row.get(key) is not None}
    return answered(row, "prompt", [Candidate(fields.text(row, "response"), score, extra=ratings)], notes)


def _join_wanted(records: Sequence[Record], notes: Notes) -> Sequence[Imported]:
    """One list per prompt; a prompt none of whose answers is wanted has no target, and is left out and counted."""
    found = joined(records, notes)
    kept = [(where, r) for where, r in found if isinstance(r, Record) and any(c.score for c in r.responses)]
    notes["prompts without an answer whose label is true, left out"] += len(found) - len(kept)
    return kept


@importer(
    {"prompt": "text|messages|message", "completion": "text|message|messages", "label": "flag|number"},
    join=_join_wanted,
)
def kto(row: RawRow, notes: Notes) -> Record:
    """Unpaired answers (TRL's KTO): one row per answer, score 1 where ``label`` is true, else 0."""
    label = fields.zero_or_one(row, "label", "true or false")
    answer = read_answer(row.get("completion"), "completion")
    return answered(row, "prompt", [replace(answer.candidate, score=float(label))], notes, answer.history)
