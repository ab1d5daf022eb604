"""Lists, as judges are asked about them in words: the order of candidates, the prompt, the ruling from the replies."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from tuna.inference.context import Context
from tuna.inference.store import key_of
from tuna.judges.base import Case, NoRuling, Ruling, dense_levels
from tuna.judges.prompt import VERSION, judge_prompt
from tuna.judges.query import Query, said
from tuna.judges.verdict import Verdict, parse_verdict


@dataclass(frozen=True, slots=True)
class Question:
    """One query about one case: ``order`` says which candidate stands as Response 0, 1, ..."""

    order: tuple[int, ...]
    query: Query[Verdict]


def orders_of(count: int, asked: int, *, seed: int, record_id: str) -> list[tuple[int, ...]]:
    """The orders in which candidates are shown: shuffled by (seed, record), then the same reversed.

    >>> first, second = orders_of(4, 2, seed=0, record_id="q1")
    >>> sorted(first), second == first[::-1]
    ([0, 1, 2, 3], True)
    """
    order = list(range(count))
    random.Random(f"{seed}\0{record_id}").shuffle(order)
    return [tuple(order), tuple(reversed(order))][:asked]


def questions_of(case: Case, identity: dict[str, Any], orders: int, seed: int) -> list[Question]:
    """The prompts that decide one case."""
    found = []
    for order in orders_of(len(case.answers), orders, seed=seed, record_id=case.record.id):
        prompt = judge_prompt(case.record, [case.answers[k].text for k in order])
        found.append(
            Question(order, Query(key_of(**identity, version=VERSION, prompt=prompt), prompt, _reader(len(order))))
        )
    return found


def _reader(candidates: int) -> Callable[[str, bool], Verdict]:
    return lambda text, finished: parse_verdict(text, candidates, finished=finished)


def rule(questions: Sequence[Question], context: Context, *, keep_reference: bool) -> Ruling | NoRuling:
    """The ruling on one case from the verdicts on all its questions; two orders are averaged by position."""
    verdicts = []
    for question in questions:
        found = said(question.query, context)
        if found.verdict is None:
            if question.query.key in context.failed:
                return NoRuling(context.failed[question.query.key], found.raw, asked=False)
            reason = context.aside.get(question.query.key) or (found.reasons[-1] if found.reasons else "")
            return NoRuling(reason or "not asked yet", found.raw, asked=bool(reason))
        verdicts.append(found.verdict)
    places = [_places(question, verdict) for question, verdict in zip(questions, verdicts, strict=True)]
    count = len(questions[0].order)
    means = [_mean([place[k] for place in places]) for k in range(count)]
    marks = [
        _mean([_mark(q, v, k) for q, v in zip(questions, verdicts, strict=True)], strict=False) for k in range(count)
    ]
    own = _own(verdicts[0]) if keep_reference else None
    if sum(value is not None for value in means) + (own is not None) < 2:
        return NoRuling("the verdict leaves fewer than two answers", [str(verdict.order) for verdict in verdicts])
    notes: dict[str, Any] = {
        "orders": [list(question.order) for question in questions],
        "ranks": [[q.order[k] for k in verdict.order] for q, verdict in zip(questions, verdicts, strict=True)],
        "disagreements": sum(verdict.disagreements for verdict in verdicts),
    }
    flips, pairs = _flips(places) if len(places) == 2 else (0, 0)
    levels = dense_levels([*means, own[1] if own else None])
    reference = (own[0], levels[-1]) if own and levels[-1] is not None else None
    return Ruling(levels[:-1], marks, reference, notes, flips, pairs)


def _places(question: Question, verdict: Verdict) -> list[float | None]:
    """Each candidate's place in the verdict, in the candidates' own numbers."""
    place: list[float | None] = [None] * len(question.order)
    for at, shown in enumerate(verdict.order):
        place[question.order[shown]] = float(at)
    return place


def _mark(question: Question, verdict: Verdict, candidate: int) -> float | None:
    return verdict.marks.get(question.order.index(candidate))


def _mean(values: Sequence[float | None], *, strict: bool = True) -> float | None:
    """The mean; None where one is missing, or (not strict) where all are."""
    known = [value for value in values if value is not None]
    if not known or (strict and len(known) < len(values)):
        return None
    return sum(known) / len(known)


def _flips(places: Sequence[Sequence[float | None]]) -> tuple[int, int]:
    """Pairs that both verdicts rank, and how many of them they rank differently: (flips, pairs)."""
    flips = pairs = 0
    for a, b in combinations(range(len(places[0])), 2):
        x, y = places
        if x[a] is not None and x[b] is not None and y[a] is not None and y[b] is not None:
            pairs += 1
            flips += (x[a] < x[b]) != (y[a] < y[b])  # type: ignore[operator]
    return flips, pairs


def _own(verdict: Verdict) -> tuple[str, float] | None:
    """The judge's own answer, and its place among the candidates' places: just before as many as it beats."""
    if verdict.reference is None or verdict.reference_text is None:
        return None
    return verdict.reference_text, verdict.reference - 0.5
