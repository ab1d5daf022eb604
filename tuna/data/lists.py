"""Records to lists of answers, ready to be tokenized: scores, ties, the original's place; useless ones counted."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from tuna.data.ranking import beside, scores_of, tie
from tuna.data.record import Record


@dataclass(frozen=True, slots=True)
class Answer:
    """One response of a list. score NaN: not ranked. target: takes part in the cross-entropy."""

    text: str
    complete: bool = True
    score: float = math.nan
    target: bool = False


@dataclass(frozen=True, slots=True)
class AnswerList:
    """One group before tokenization."""

    record: Record
    answers: tuple[Answer, ...]


def ranked_list(
    record: Record,
    dropped: Counter[str],
    *,
    rank_by: str = "score",
    beta: float = 1.3,
    min_gap: float = 0.0,
    rank_original: str = "none",
    original_best: bool = False,
) -> AnswerList | None:
    """The candidates with their scores, and the original response, which joins a candidate that equals it.

    Empty and duplicate responses are dropped and counted in ``dropped``; None when fewer than two candidates are left.
    """
    left_out = record.extra.get("dropped")
    if isinstance(left_out, list) and left_out:
        dropped["response left out of the rank"] += len(left_out)
    scores = scores_of(record, rank_by, beta)
    answers = [Answer(c.text, c.complete, s) for c, s in zip(record.responses, scores, strict=True)]
    answers = merge((a for a in answers if not _empty(a, dropped, "empty response")), dropped)
    if len(answers) < 2:
        dropped["list with fewer than two responses"] += 1
        return None
    tied = tie([a.score for a in answers], min_gap)
    answers = [replace(a, score=s) for a, s in zip(answers, tied, strict=True)]
    if record.output is not None:
        score = math.nan if rank_original == "none" else beside(tied, rank_original)
        original = Answer(record.output, True, score, True)
        if not _empty(original, dropped, "empty original response"):
            answers = merge([*answers, original])
    elif original_best:
        best = max(range(len(answers)), key=lambda k: answers[k].score)
        answers[best] = replace(answers[best], target=True)
    return AnswerList(record, tuple(answers))


def target_list(record: Record, dropped: Counter[str], every: bool) -> AnswerList | None:
    """The original response as the one target; with ``every`` the candidates as further targets (Alpaca-Mul)."""
    answers = [] if record.output is None else [Answer(record.output, target=True)]
    if every:
        answers += [Answer(c.text, c.complete, target=True) for c in record.responses]
    answers = merge((a for a in answers if not _empty(a, dropped, "empty response")), dropped)
    if not answers:
        dropped["list without a response"] += 1
        return None
    return AnswerList(record, tuple(answers))


def _empty(answer: Answer, dropped: Counter[str], reason: str) -> bool:
    if answer.text.strip():
        return False
    dropped[reason] += 1
    return True


def merge(answers: Iterable[Answer], dropped: Counter[str] | None = None) -> list[Answer]:
    """Answers equal in text and completeness become one: the better score, a target when one of them is.

    >>> merge([Answer("a", score=1.0), Answer("b", score=2.0), Answer("a", target=True)])[0]
    Answer(text='a', complete=True, score=1.0, target=True)
    """
    kept: dict[tuple[str, bool], Answer] = {}
    for answer in answers:
        key = (answer.text, answer.complete)
        if key not in kept:
            kept[key] = answer
            continue
        if dropped is not None:
            dropped["duplicate response"] += 1
        same = kept[key]
        kept[key] = replace(same, score=better(same.score, answer.score), target=same.target or answer.target)
    return list(kept.values())


def better(one: float, other: float) -> float:
    """The higher of two scores; a number before NaN."""
    return other if math.isnan(one) or other > one else one
