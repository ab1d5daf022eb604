"""Records to lists of answers, ready to be tokenized: scores, ties, the original's place; unusable ones counted."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from tuna.data.ranking import left_out, score_for_original, scores_of, tie
from tuna.data.record import Candidate, Record


@dataclass(frozen=True, slots=True)
class Answer:
    """One response of a list. score NaN: not ranked. target: takes part in the cross-entropy."""

    text: str
    complete: bool = True
    score: float = math.nan
    target: bool = False
    reasoning: str | None = None


@dataclass(frozen=True, slots=True)
class AnswerList:
    """A record with the answers that are kept of it: one group before tokenization."""

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

    Empty and duplicate responses are dropped and counted in ``dropped``. A list with one candidate left has no pair,
    but its original response still has its cross-entropy (Eq. 6), as in a list whose candidates are all tied; None
    where there is no original either, or no candidate at all.

    rank_by, beta: see tuna.data.ranking.scores_of. min_gap: see ``tie``. rank_original: "best" or "worst" ranks the
    original as one more candidate. original_best: where there is no original, the best candidate takes its place.
    """
    dropped += Counter({"response left out of the rank": left_out(record)})
    scores = zip(record.responses, scores_of(record, rank_by, beta), strict=True)
    answers = merge(_written((_answer(c, score=s) for c, s in scores), dropped, "empty response"), dropped)
    outputs = [] if record.output is None else [Answer(record.output, target=True)]
    original = next(iter(_written(outputs, dropped, "empty original response")), None)
    best_is_target = original is None and original_best and record.output is None
    if not answers or (len(answers) < 2 and original is None and not best_is_target):
        dropped["list with fewer than two responses"] += 1
        return None
    tied = tie([a.score for a in answers], min_gap)
    answers = [replace(a, score=s) for a, s in zip(answers, tied, strict=True)]
    if original is not None:
        score = math.nan if rank_original == "none" else score_for_original(tied, rank_original)
        answers = merge([*answers, replace(original, score=score)])
    elif best_is_target:
        best = max(range(len(answers)), key=lambda k: answers[k].score)
        answers[best] = replace(answers[best], target=True)
    return AnswerList(record, tuple(answers))


def shortened(item: AnswerList, count: int, dropped: Counter[str], *, beside: bool = False) -> AnswerList:
    """A list of ``count`` of its ranked candidates, in their order; ties are those of the whole list.

    A hash of question and answer chooses, never place or score: the first ones of a file that stands in ranked order
    would be the best ones. The choice for a smaller count lies within that for a larger one. A target not chosen stays,
    unranked; beside: the original response was ranked as one more candidate, and stays so.
    """
    record, answers = item.record, item.answers
    asked = [json.dumps(record.question, sort_keys=True)] if record.messages else record.question

    def lot(k: int) -> tuple[bytes, int]:
        return hashlib.sha256("\0".join((*asked, answers[k].text)).encode()).digest(), k

    ranked = [k for k, a in enumerate(answers) if a.score == a.score and not (beside and a.target)]
    beyond = set(sorted(ranked, key=lot)[count:])
    dropped["response beyond num_candidates"] += len(beyond)
    kept = ((a, k in beyond) for k, a in enumerate(answers) if k not in beyond or a.target)
    return AnswerList(record, tuple(replace(a, score=math.nan) if unranked else a for a, unranked in kept))


def target_list(record: Record, dropped: Counter[str], every: bool, original_best: bool = False) -> AnswerList | None:
    """The original response as the one target; with ``every`` the candidates are targets too (Alpaca-Mul).

    original_best: where there is no original, the candidate with the highest score takes its place.
    """
    answers = [] if record.output is None else [Answer(record.output, target=True)]
    chosen = record.responses if every else ()
    if record.output is None and original_best and not every:
        scored = [c for c in record.responses if c.score is not None and c.text.strip()]
        chosen = tuple(sorted(scored, key=lambda c: -(c.score or 0.0))[:1])
    answers += [_answer(c, target=True) for c in chosen]
    answers = merge(_written(answers, dropped, "empty response"), dropped)
    if not answers:
        dropped["list without a response"] += 1
        return None
    return AnswerList(record, tuple(answers))


def _answer(candidate: Candidate, *, score: float = math.nan, target: bool = False) -> Answer:
    return Answer(candidate.text, candidate.complete, score, target, candidate.reasoning)


def _written(answers: Iterable[Answer], dropped: Counter[str], reason: str) -> list[Answer]:
    given = list(answers)
    kept = [answer for answer in given if answer.text.strip()]
    dropped += Counter({reason: len(given) - len(kept)})
    return kept


def merge(answers: Iterable[Answer], dropped: Counter[str] | None = None) -> list[Answer]:
    """Answers equal in text, reasoning and completeness become one: the better score, a target when one of them is."""
    kept: dict[tuple[str, bool, str | None], Answer] = {}
    for answer in answers:
        key = (answer.text, answer.complete, answer.reasoning)
        same = kept.setdefault(key, answer)
        if same is answer:
            continue
        if dropped is not None:
            dropped["duplicate response"] += 1
        kept[key] = replace(same, score=better(same.score, answer.score), target=same.target or answer.target)
    return list(kept.values())


def better(one: float, other: float) -> float:
    """The higher of two scores; a number before NaN."""
    return other if math.isnan(one) or other > one else one
