"""Scores and ties: what orders a list, and how well numbers, length or chance keep that order. Pure functions."""

import math
from collections.abc import Sequence
from decimal import Decimal
from itertools import combinations, pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tuna.data.fields import FieldError
from tuna.data.record import Candidate, Record
from tuna.stats import Interval, bootstrap_interval

if TYPE_CHECKING:  # it needs torch, which reading files does not
    from tuna.data.batch import Group

COLLECT = "python rank.py model.path=MODEL input=FILE collects and ranks some"
FloatArray = npt.NDArray[np.float64]
# Beyond them |r| ** beta overflows, or scores fall below float32 and tie.
LARGEST_BETA, LARGEST_LENGTH = 5.0, 10_000_000


def eq3(logprob: float, num_tokens: int, beta: float) -> float:
    """The teacher's score, Eq. 3: s = log p(r | i) / |r| ** beta, natural log, |r| in tokens; beta up to LARGEST_BETA.

    >>> round(eq3(-41.2, 57, 1.3), 4)
    -0.2149
    """
    return float(logprob / num_tokens**beta)


def check_rankable(record: Record, rank_by: str) -> None:
    """Raises: FieldError where a candidate lacks what ``rank_by`` needs (see ``scores_of``), or there are not two.

    Answers that a judge left out (the record's ``dropped``) count as given: such a list is short, not malformed.
    """
    given = len(record.responses) + left_out(record)
    if given < 2:
        hint = "" if given else f"{COLLECT}; stage=sft needs output alone"
        raise FieldError("responses", "two responses or more", list(record.responses), hint)
    by_eq3 = "next: rank.py ranker=probabilistic score_only=true, or datamodule.rank_by=score"
    for k, candidate in enumerate(record.responses):
        field, logprob, tokens = f"responses[{k}]", candidate.logprob, candidate.num_tokens
        if rank_by == "score" and candidate.score is None:
            hint = "these have log-probabilities: set datamodule.rank_by=eq3" if logprob is not None else ""
            raise FieldError(f"{field}.score", "a finite number", None, hint)
        if rank_by == "judge_score" and _mark(candidate) is None:
            mark = candidate.extra.get("judge_score")
            raise FieldError(
                f"{field}.judge_score", "a finite number (rank_by=judge_score)", mark, "or datamodule.rank_by=score"
            )
        if rank_by == "eq3" and logprob is None:
            raise FieldError(f"{field}.logprob", "a finite number (rank_by=eq3)", None, by_eq3)
        if rank_by == "eq3" and not 1 <= (tokens or 0) <= LARGEST_LENGTH:
            expected = f"a whole number from 1 to {LARGEST_LENGTH} (rank_by=eq3)"
            raise FieldError(f"{field}.num_tokens", expected, tokens, by_eq3)


def left_out(record: Record) -> int:
    """How many answers a judge, or an importer, left out of the list."""
    dropped = record.extra.get("dropped")
    return len(dropped) if isinstance(dropped, list) else 0


def scores_of(record: Record, rank_by: str, beta: float) -> list[float]:
    """One score per candidate, higher is better. Call check_rankable first.

    rank_by: "score", the file's own (a place in the rank, where rank.py wrote it); "judge_score", the judge's mark;
    "eq3", the teacher's Eq. 3.
    """
    if rank_by == "judge_score":
        return [_mark(c) or 0.0 for c in record.responses]
    if rank_by == "score":
        return [float(c.score) for c in record.responses if c.score is not None]
    return [eq3(c.logprob or 0.0, c.num_tokens or 1, beta) for c in record.responses]


def _mark(candidate: Candidate) -> float | None:
    mark = candidate.extra.get("judge_score")
    return float(mark) if isinstance(mark, int | float) and not isinstance(mark, bool) and math.isfinite(mark) else None


def tie(scores: Sequence[float], min_gap: float) -> list[float]:
    """Scores as the loss sees them: neighbors closer than ``min_gap`` become equal, values fit float32.

    Down the sorted list, a score less than ``min_gap`` under the one before joins its level and takes the level's
    highest score; so every two scores closer than ``min_gap`` are tied, and a chain of close ones is one level. The
    numbers count as they are written: 0.3 and 0.2 are 0.1 apart.
    """
    written = [Decimal(str(s)) for s in scores]
    gap = Decimal(str(min_gap))
    out = [float(np.float32(s)) for s in scores]
    order = sorted(range(len(scores)), key=lambda i: -written[i])
    for above, here in pairwise(order):
        if written[above] - written[here] < gap:
            out[here] = out[above]
    return out


def score_for_original(scores: Sequence[float], place: str) -> float:
    """A score for the original response as one more candidate: "best" is the maximum + 1, "worst" the minimum - 1.

    >>> score_for_original([0.5, 2.0], "best"), score_for_original([0.5, 2.0], "worst")
    (3.0, -0.5)
    """
    end = max(scores) if place == "best" else min(scores)
    step = max(1.0, abs(end) * 1e-6)  # 1 more than 1e9 is the same float32
    return end + step if place == "best" else end - step


def count_pairs(scores: Sequence[float]) -> int:
    """Pairs of ranked responses with different scores; NaN takes no part.

    >>> count_pairs([3, 2, 2, 1, float("nan")])
    5
    """
    return sum(a != b for a, b in combinations((s for s in scores if s == s), 2))


def pair_accuracy(values: Sequence[npt.ArrayLike], scores: Sequence[npt.ArrayLike]) -> FloatArray:
    """For each list the share of pairs with different scores that ``values`` order right, equal values one half.

    values, scores: one array [K] per list; NaN scores take no part. Returns [lists]; NaN where a list has no such pair.
    """
    out = np.full(len(values), math.nan)
    for n, (value, score) in enumerate(zip(values, scores, strict=True)):
        v, s = np.asarray(value, np.float64), np.asarray(score, np.float64)
        better = s[:, None] > s[None, :]
        if better.any():
            right = np.sign(v[:, None] - v[None, :])[better]
            out[n] = float((right + 1).mean() / 2)
    return out


def baselines(groups: Sequence["Group"], seed: int = 0) -> dict[str, Interval]:
    """Intervals of pair_accuracy over ``groups`` by name: "length" (in tokens, longer is better) and "random".

    "random" is the mean over many draws (chance itself is 0.5) and the range in which 95% of them fall: how far chance
    alone strays on this many lists.
    """
    scores = [np.array(group.scores) for group in groups]
    lengths = [np.array([len(r) for r in group.responses], float) for group in groups]
    generator = np.random.default_rng(seed)
    length = bootstrap_interval(pair_accuracy(lengths, scores), seed)
    low = mean = high = math.nan
    if length.lists:
        chance = [pair_accuracy([generator.random(len(values)) for values in scores], scores) for _ in range(200)]
        draws = np.nanmean(chance, axis=1)
        low, mean, high = map(float, (np.quantile(draws, 0.025), draws.mean(), np.quantile(draws, 0.975)))
    return {"length": length, "random": Interval(mean, low, high, length.lists)}
