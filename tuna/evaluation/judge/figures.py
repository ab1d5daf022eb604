"""How a judge's opinions of lists stand to a reference's: agreement, length, places, cycles."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from tuna.judges.base import Comparison, NoRuling, Ruling
from tuna.stats import Interval, balanced_interval, bootstrap_interval, spearman

Places = tuple[int, int]  # of two answers of a list, the lower first


@dataclass(frozen=True, slots=True)
class Reference:
    """A list as it was given: the score of each answer, higher is better, and its length in characters."""

    scores: Sequence[float]
    lengths: Sequence[int]

    def strict(self) -> Iterator[Places]:
        """The pairs that the reference orders, the better answer first."""
        for j, k in combinations(range(len(self.scores)), 2):
            if self.scores[j] != self.scores[k]:
                yield (j, k) if self.scores[j] > self.scores[k] else (k, j)


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a judge made of a list. prefers: for a pair 1 where the first is better, 0 where the second is, 0.5 for a
    tie; a pair without a readable verdict is not in it. values: of the answers, higher is better.
    """

    values: Sequence[float | None]
    prefers: Mapping[Places, float] = field(default_factory=dict)
    flips: int = 0  # pairs that were asked about in both orders, and answered differently
    both: int = 0  # pairs that were asked about in both orders
    reasons: tuple[str, ...] = ()  # why a verdict is missing

    def better(self, j: int, k: int) -> float | None:
        """1 where answer j is preferred to answer k, 0.5 where they tie, None where there is no verdict."""
        found = self.prefers.get((min(j, k), max(j, k)))
        return found if found is None or j < k else 1 - found


def of_ruling(ruling: Ruling | NoRuling, count: int) -> Opinion:
    """A ruling's order as preferences of all pairs; its marks as values where every ranked answer has one.

    >>> found = of_ruling(Ruling([1, 0, None, 1]), 4)
    >>> found.prefers, found.values
    ({(0, 1): 0.0, (0, 3): 0.5, (1, 3): 1.0}, [-1.0, 0.0, None, -1.0])
    """
    if isinstance(ruling, NoRuling):
        return Opinion([None] * count, reasons=(ruling.reason,))
    prefers, levels, marks = {}, ruling.levels, ruling.marks or [None] * count
    for j, k in combinations(range(count), 2):
        one, other = levels[j], levels[k]
        if one is not None and other is not None:
            prefers[j, k] = 0.5 if one == other else float(one < other)
    marked = all(mark is not None for mark, level in zip(marks, levels, strict=True) if level is not None)
    found = [
        None if level is None else float(mark if marked and mark is not None else -level)
        for mark, level in zip(marks, levels, strict=True)
    ]
    return Opinion(found, prefers, ruling.flips, ruling.pairs, ("left out by the judge",) if None in levels else ())


def of_comparisons(found: Mapping[Places, Comparison], count: int) -> Opinion:
    """Comparisons of all pairs of a list. A verdict needs both orders; where they disagree it is a tie, or the likelier
    answer's where there are probabilities. An answer's value is its mean share of wins, or their mean probability.
    """
    prefers: dict[Places, float] = {}
    shares: list[list[float]] = [[] for _ in range(count)]
    for (j, k), comparison in found.items():
        won = {"win": 1.0, "tie": 0.5, "lose": 0.0}.get(comparison.outcome)
        if won is not None:
            likely = getattr(comparison, "preference", None)
            share = won if likely is None else likely
            prefers[j, k] = (1 + (share > 0.5) - (share < 0.5)) / 2 if comparison.flipped else won
            shares[j].append(share)
            shares[k].append(1 - share)
    both = sum(None not in comparison.verdicts for comparison in found.values())
    return Opinion(
        [sum(each) / len(each) if each else None for each in shares], prefers,
        sum(comparison.flipped for comparison in found.values()), both,
        tuple(comparison.reason for comparison in found.values() if comparison.reason),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Card:
    """Figures by name (None where there is nothing to make one of), 95% intervals of some, each list's agreement."""

    figures: dict[str, float | None]
    intervals: dict[str, Interval]
    by_list: list[float | None]


def card(references: Sequence[Reference], opinions: Sequence[Opinion], *, seed: int, cycles: bool) -> Card:
    """All that an order of answers says. What each figure means is said in docs/benchmarks/judge.md.

    The length-controlled agreement is balanced: the mean of the agreement over pairs whose better answer (by the
    reference) is longer, and over those whose better answer is shorter. What goes by length alone gets one half.
    """
    both = list(zip(references, opinions, strict=True))
    alike, rho, by_length = [], [], []
    ties = known = pairs = longer = longer_reference = 0.0
    for reference, opinion in both:
        right = [opinion.better(j, k) for j, k in reference.strict()]
        found = [share for share in right if share is not None]
        alike.append(sum(found) / len(found) if found else math.nan)
        ties, known, pairs = ties + found.count(0.5), known + len(found), pairs + len(right)
        row = [0.0, 0.0, 0.0, 0.0]
        for (j, k), share in zip(reference.strict(), right, strict=True):
            gap = reference.lengths[j] - reference.lengths[k]
            if share is not None and gap:
                row[0 if gap > 0 else 2] += share
                row[1 if gap > 0 else 3] += 1
        by_length.append(row)
        longer += row[0] + row[3] - row[2]
        longer_reference += row[1]
        ranked = [(v, s) for v, s in zip(opinion.values, reference.scores, strict=True) if v is not None]
        one = spearman([v for v, _ in ranked], [s for _, s in ranked]) if len(ranked) > 1 else None
        rho.append(math.nan if one is None else one)
    when_longer, of_longer, when_shorter, of_shorter = map(sum, zip(*by_length, strict=True))
    turned = [_cycles(opinion, len(reference.scores)) for reference, opinion in both] if cycles else []
    intervals = {
        "agreement": bootstrap_interval(alike, seed),
        "spearman": bootstrap_interval(rho, seed),
        "length_controlled": balanced_interval(by_length),
    }
    figures = {
        **{name: interval.mean if interval.lists else None for name, interval in intervals.items()},
        "ties": share_of(ties, known),
        "no_verdict": share_of(pairs - known, pairs),
        "agreement_longer_better": share_of(when_longer, of_longer),
        "agreement_shorter_better": share_of(when_shorter, of_shorter),
        "longer_wins": share_of(longer, of_longer + of_shorter),
        "longer_wins_reference": share_of(longer_reference, of_longer + of_shorter),
        "flip_rate": share_of(sum(o.flips for o in opinions), sum(o.both for o in opinions)),
        "cycles": share_of(sum(n for n, _ in turned), sum(of for _, of in turned)),
    }
    return Card(figures, intervals, [None if math.isnan(share) else share for share in alike])


def share_of(part: float, whole: float) -> float | None:
    """The share; None of nothing."""
    return part / whole if whole else None


def consistency(first: Sequence[Opinion], other: Sequence[Opinion]) -> tuple[int, int]:
    """How many pairs two rounds of asking settled alike (a tie is like a tie), of those that both have a verdict on."""
    both = [
        (share, two.prefers[places])
        for one, two in zip(first, other, strict=True)
        for places, share in one.prefers.items()
        if places in two.prefers
    ]
    return sum(a == b for a, b in both), len(both)


def _cycles(opinion: Opinion, count: int) -> tuple[int, int]:
    """Triples of answers in which a beats b, b beats c and c beats a; of how many whose three pairs have a verdict."""
    turned = whole = 0
    for a, b, c in combinations(range(count), 3):
        found = [opinion.better(*pair) for pair in ((a, b), (b, c), (c, a))]
        whole += None not in found
        turned += found in ([1, 1, 1], [0, 0, 0])
    return turned, whole
