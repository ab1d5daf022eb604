"""From comparisons of pairs to a ranked list: which pairs are compared, and the strengths that follow from them."""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise, zip_longest
from typing import Annotated, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from annotated_types import Ge

from tuna.config.types import checked
from tuna.judges.base import Case, Comparison, NoRuling, Pair, Ruling

PRECISION = 0.01  # of the normal priors: a standard deviation of 10, as good as none unless an answer is undefeated
TIED = 1e-6  # log strengths that are no further apart are equal
_CONVERGED = 1e-9  # of every component of the gradient, so that strengths are off by 1e-7 at most
Rounds = Iterator[list[tuple[int, int]]]  # pairs that are asked about together; the outcomes are there at the next


@checked
@dataclass(frozen=True)
class Design:
    """Which pairs of a list are compared. K: the answers of a list.

    all: each with each, K (K - 1) / 2. swiss: K - 1 pairs by lot that connect all answers, then round by round the
    neighbors in the standing that have not met, until all neighbors have: about K log2 K at 16 answers. sorted: a merge
    sort, K log2 K at most. comparisons: the most per list; of "all" the first rounds of a round robin, in which all
    answers are compared about equally often.
    """

    pairs: Literal["all", "swiss", "sorted"] = "all"
    comparisons: Annotated[int, Ge(1)] | None = None

    def problem(self, count: int) -> str | None:
        """Why ``count`` answers cannot be ranked within the budget, or None.

        >>> Design("sorted", comparisons=10).problem(8)
        'comparisons=10 is too few for 8 answers: pairs=sorted takes up to 17'
        """
        needed = most_of_sort(count) if self.pairs == "sorted" else count - 1
        if self.comparisons is None or self.comparisons >= needed:
            return None
        takes = "takes up to" if self.pairs == "sorted" else "needs"
        return f"comparisons={self.comparisons} is too few for {count} answers: pairs={self.pairs} {takes} {needed}"

    def most(self, count: int) -> int:
        """The most comparisons that a list of ``count`` answers can take."""
        possible = most_of_sort(count) if self.pairs == "sorted" else count * (count - 1) // 2
        return possible if self.comparisons is None else min(possible, self.comparisons)


class Outcome(NamedTuple):
    """How often the first of two won, tied and lost; fractions where a judge gives probabilities, or is weighted."""

    first: int
    second: int
    win: float
    tie: float
    loss: float


def tournament(
    cases: Sequence[Case],
    compare: Callable[[Sequence[Pair]], Sequence[Comparison]],
    design: Design,
    *,
    seed: int = 0,
) -> list[Ruling | NoRuling]:
    """A ruling per case from comparisons of its answers; each round's pairs of all cases go to ``compare`` together.

    Levels are the order of Davidson's strengths (``bradley_terry``), which are the marks; those within 1e-6 tie. An
    unreadable comparison is left out and counted. No ruling: the readable ones do not connect all answers, or the
    budget of the design could not; a comparison that was not asked (the run was stopped) leaves its case as not asked.

    compare: a comparison per pair; a comparison's ``preference``, where it is given, counts as that much of a win.
    seed: with a record's id, decides which pairs come first and which answer of a pair does.

    >>> from tuna.data.record import Record
    >>> from tuna.inference.answers import Answer
    >>> case = Case(Record("0", "The largest number?"), [Answer(text) for text in ("5", "7", "3", "7")])
    >>> def larger(pairs):
    ...     signs = [(int(p.first) > int(p.second)) - (int(p.first) < int(p.second)) for p in pairs]
    ...     return [Comparison((sign, sign)) for sign in signs]
    >>> ruling, = tournament([case], larger, Design())
    >>> ruling.levels, ruling.notes["comparisons"], ruling.notes["cycles"]
    ([1, 0, 2, 0], 6, 0)
    """
    matches = [_Match(case, design, seed) for case in cases]
    while asked := [(match, *pair) for match in matches for pair in match.next_round()]:
        for (match, a, b), comparison in zip(asked, compare([m.pair(a, b) for m, a, b in asked]), strict=True):
            match.played[a, b] = comparison
    return [match.ruling() for match in matches]


class _Match:
    """One list at play."""

    def __init__(self, case: Case, design: Design, seed: int) -> None:
        self.case, self.count = case, len(case.answers)
        self.problem = design.problem(self.count)
        self.played: dict[tuple[int, int], Comparison] = {}
        self.left = design.most(self.count)
        order = list(range(self.count))
        random.Random(f"{seed}\0{case.record.id}").shuffle(order)
        self.rounds: Rounds = iter(()) if self.problem else _SCHEDULES[design.pairs](order, self)

    def next_round(self) -> list[tuple[int, int]]:
        """The pairs to be asked about now; none where the list is done, or not to be asked about any more."""
        if not all(comparison.asked for comparison in self.played.values()):
            return []
        pairs = next(self.rounds, [])[: self.left]
        self.left -= len(pairs)
        return pairs

    def pair(self, a: int, b: int) -> Pair:
        return Pair(self.case.record, self.case.answers[a].text, self.case.answers[b].text)

    def outcomes(self) -> list[Outcome]:
        """Those that are readable."""
        found = ((a, b, shares(comparison)) for (a, b), comparison in self.played.items())
        return [Outcome(a, b, *each) for a, b, each in found if each]

    def points(self, a: int, b: int) -> float | None:
        """What the first got of its comparison with the second: 1 for a win, 0.5 for a tie; None: not readable."""
        found = shares(self.played[a, b])
        return None if found is None else round(found[0] + found[1] / 2, 6)

    def ruling(self) -> Ruling | NoRuling:
        if self.problem:
            return NoRuling(self.problem)
        comparisons = self.played.values()
        raw = [text for comparison in comparisons for text in comparison.raw]
        if waiting := [comparison for comparison in comparisons if not comparison.asked]:
            return NoRuling(waiting[0].reason, raw, asked=False)
        outcomes = self.outcomes()
        if not connected(self.count, outcomes):
            reason, _ = Counter(c.reason for c in comparisons if shares(c) is None).most_common(1)[0]
            readable = f"{len(outcomes)} of {len(comparisons)} comparisons are readable"
            return NoRuling(f"{readable}, which do not connect all {self.count} answers: {reason}", raw)
        found = bradley_terry(self.count, outcomes)
        notes = {
            "comparisons": len(comparisons),
            "unreadable": len(comparisons) - len(outcomes),
            "outcomes": [[a, b, self.points(a, b)] for a, b in self.played],
            "cycles": cycles(self.count, outcomes),
        }
        both = [comparison for comparison in comparisons if None not in comparison.verdicts]
        flips = sum(comparison.flipped for comparison in both)
        return Ruling(levels_of(found), [round(x, 6) for x in found], notes=notes, flips=flips, pairs=len(both))


def shares(comparison: Comparison) -> tuple[float, float, float] | None:
    """How much of a win, a tie and a loss of the first answer a comparison is; None where it is unreadable."""
    if comparison.preference is not None:
        return comparison.preference, 0.0, 1.0 - comparison.preference
    return {"win": (1.0, 0.0, 0.0), "tie": (0.0, 1.0, 0.0), "lose": (0.0, 0.0, 1.0)}.get(comparison.outcome)


def _round_robin(order: Sequence[int], match: _Match) -> Rounds:
    """All at once, since nothing depends on an outcome."""
    yield _by_lot(order)


def _by_lot(order: Sequence[int]) -> list[tuple[int, int]]:
    """All pairs by the circle method: one stays, the others turn. The first K - 1 of them connect all K answers."""
    nobody = -1
    seats = [*order, nobody] if len(order) % 2 else [*order]
    half = len(seats) // 2
    pairs: list[tuple[int, int]] = []
    for _ in seats[1:]:
        table = zip(seats[:half], reversed(seats[half:]), strict=True)
        pairs += [pair for pair in table if nobody not in pair]
        seats[1:] = [seats[-1], *seats[1:-1]]
    return pairs


def _swiss(order: Sequence[int], match: _Match) -> Rounds:
    """By lot what connects all; then neighbors in the standing that have not met, each answer once per round."""
    pairs = _by_lot(order)[: len(order) - 1]
    while pairs:
        yield pairs
        found = bradley_terry(match.count, match.outcomes())
        standing = sorted(order, key=lambda k: -round(found[k], 6))
        pairs = []
        for a, b in pairwise(standing):
            met = (a, b) in match.played or (b, a) in match.played
            if not met and not (pairs and pairs[-1][1] == a):
                pairs.append((a, b))


def _sorted(order: Sequence[int], match: _Match) -> Rounds:
    """A merge sort from the bottom up; the merges of one height go on side by side."""
    runs = [[k] for k in order]
    while len(runs) > 1:
        merged: list[list[int]] = [[] for _ in runs[::2]]
        seconds = [*runs[1::2], []]
        merges = [_merge(a, b, into, match) for a, b, into in zip(runs[::2], seconds, merged, strict=False)]
        for level in zip_longest(*merges):
            yield [pair for pair in level if pair]
        runs = [merged[-1], *merged[:-1]]  # what found no partner is merged first: no run stays short


def _merge(a: list[int], b: list[int], into: list[int], match: _Match) -> Iterator[tuple[int, int]]:
    """The pairs that decide a merge of two runs; what does not lose goes first."""
    while a and b:
        first, second = a[0], b[0]
        yield first, second
        points = match.points(first, second)
        into.append((b if points is not None and points < 0.5 else a).pop(0))
    into += a + b


_SCHEDULES = {"all": _round_robin, "swiss": _swiss, "sorted": _sorted}


def most_of_sort(count: int) -> int:
    """The most comparisons of a merge sort: K h - 2^h + 1, where 2^h is the first power of 2 that is K or more.

    >>> [most_of_sort(count) for count in (2, 3, 4, 5, 8, 16)]
    [1, 3, 5, 8, 17, 49]
    """
    height = (count - 1).bit_length()
    return count * height - (1 << height) + 1


def connected(count: int, outcomes: Iterable[Outcome]) -> bool:
    """Whether the outcomes lead from every one of ``count`` players to every other.

    >>> connected(3, [Outcome(0, 1, 1, 0, 0)]), connected(2, [Outcome(0, 1, 1, 0, 0)])
    (False, True)
    """
    group = list(range(count))
    for outcome in outcomes:
        old, new = group[outcome.first], group[outcome.second]
        group = [new if each == old else each for each in group]
    return len(set(group)) == 1


def cycles(count: int, outcomes: Iterable[Outcome]) -> int:
    """Circular triads (Kendall and Babington Smith, 1940): three of which each beats the next.

    >>> cycles(3, [Outcome(0, 1, 1, 0, 0), Outcome(1, 2, 1, 0, 0), Outcome(2, 0, 0.6, 0, 0.4)])
    1
    """
    beats = {(o.first, o.second) if o.win > o.loss else (o.second, o.first) for o in outcomes if o.win != o.loss}
    return sum(
        {(a, b), (b, c), (c, a)} <= beats or {(b, a), (c, b), (a, c)} <= beats
        for a, b, c in combinations(range(count), 3)
    )


def bradley_terry(count: int, outcomes: Sequence[Outcome]) -> list[float]:
    """Log strengths of ``count`` players by Davidson's extension of Bradley and Terry's model to ties.

    P(i beats j) = s_i / d, P(tie) = nu * sqrt(s_i s_j) / d, d = s_i + s_j + nu * sqrt(s_i s_j), s_i = exp(strength i)
    (Davidson 1970, JASA 65, 317-328). Strengths and log nu maximize the log-likelihood of the outcomes plus the
    log-density of normal priors of mean 0 and precision 0.01 (as Whelan 2017, arXiv:1712.05311): so an answer that is
    never beaten has a finite strength. This is strictly concave, and Newton's method finds its one maximum. Strengths
    add up to 0; where each meets each, their order is that of wins plus half of ties.

    Raises ArithmeticError where it does not converge (weights that are no numbers).

    >>> [round(x, 3) for x in bradley_terry(2, [Outcome(0, 1, win=3, tie=2, loss=1)])]  # log(3) / 2 without priors
    [0.545, -0.545]
    """
    design = np.zeros((len(outcomes), 3, count + 1))  # of the log-odds of win, tie and loss
    for row, outcome in zip(design, outcomes, strict=True):
        row[0, outcome.first] = row[2, outcome.second] = row[1, count] = 1
        row[1, [outcome.first, outcome.second]] = 0.5
    weights = np.array([outcome[2:] for outcome in outcomes], np.float64).reshape(-1, 3)
    totals = weights.sum(axis=1, keepdims=True)
    flat = design.reshape(-1, count + 1)
    prior = PRECISION * np.eye(count + 1)

    def loss(at: npt.NDArray[np.float64]) -> float:
        odds = design @ at
        each = totals[:, 0] * np.logaddexp.reduce(odds, axis=1) - (weights * odds).sum(axis=1)
        return float(each.sum() + at @ prior @ at / 2)

    at = np.zeros(count + 1)
    for _ in range(100):
        odds = design @ at
        chances = np.exp(odds - np.logaddexp.reduce(odds, axis=1, keepdims=True))
        expected = totals * chances
        gradient = (expected - weights).ravel() @ flat + prior @ at
        if np.abs(gradient).max() < _CONVERGED:
            return [float(x) for x in at[:count]]
        mean = (chances[:, None] @ design)[:, 0]
        hessian = (flat.T * expected.ravel()) @ flat - (mean.T * totals[:, 0]) @ mean + prior
        step = np.linalg.solve(hessian, gradient)
        size, before = 1.0, loss(at)
        while size > 1e-6 and loss(at - size * step) > before + 1e-12:
            size /= 2
        at = at - size * step
    raise ArithmeticError(f"no strengths found for {count} players from {len(outcomes)} outcomes")


def levels_of(strengths: Sequence[float]) -> list[int]:
    """Positions, the strongest 0; one within 1e-6 of the next stronger shares its position.

    >>> levels_of([0.5, 1.0, 0.5 + 1e-9])
    [1, 0, 1]
    """
    levels = [0] * len(strengths)
    for above, k in pairwise(sorted(range(len(strengths)), key=lambda k: -strengths[k])):
        levels[k] = levels[above] + (strengths[above] - strengths[k] > TIED)
    return levels
