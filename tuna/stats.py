"""Means and their 95% intervals: over examples by bootstrap, over seeds by Student's t; Spearman's correlation."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean, stdev

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
_LEVEL = 0.95
_NORMAL = 1.959964  # standard errors on either side
_SAMPLES = 2000  # of a bootstrap
_SEEN = 2.8  # standard errors: at 5%, two-sided, a true mean so far from zero is found four times in five


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95% interval, None where there is nothing to make one of (one seed, say)."""

    mean: float
    low: float | None = None
    high: float | None = None
    n: int = 1  # how many values it is the mean of
    how: str = ""  # where the interval is from
    p: float | None = None  # of zero, two-sided
    needed: tuple[int | None, int | None] = (None, None)  # seeds, or questions, that would most likely decide

    @property
    def above(self) -> bool:
        """Whether the whole interval is above zero."""
        return self.low is not None and self.low > 0

    @property
    def below(self) -> bool:
        """Whether the whole interval is below zero."""
        return self.high is not None and self.high < 0

    def negated(self) -> "Estimate":
        """The figure with its sign reversed."""
        low, high = (None if bound is None else -bound for bound in (self.high, self.low))
        return replace(self, mean=-self.mean, low=low, high=high)


def t_quantile(degrees: float) -> float:
    """The t with P(|T| < t) = 0.95 for Student's t.

    >>> [round(t_quantile(d), 3) for d in (1, 2, 4, 9, 30)]
    [12.706, 4.303, 2.776, 2.262, 2.042]
    """
    from scipy.special import stdtrit

    return float(stdtrit(degrees, (1 + _LEVEL) / 2))


def over_seeds(values: Sequence[float]) -> Estimate:
    """Mean and t-interval, mean +- t(n-1) s / sqrt(n); without an interval for one value.

    >>> over_seeds([1.0, 2.0, 3.0]).mean, round(over_seeds([1.0, 2.0, 3.0]).high, 4)
    (2.0, 4.4841)
    """
    if len(values) < 2:
        return Estimate(fmean(values), n=len(values))
    found = _around(values, t_quantile(len(values) - 1), "t over seeds")
    return replace(found, p=_p(found.mean, stdev(values) / math.sqrt(len(values)), len(values) - 1))


def as_share(found: Estimate, whole: float = 1.0) -> Estimate:
    """The interval of a figure from 0 to ``whole`` moved to its log odds, so that it cannot leave that range.

    With the half-width h of the plain interval and x = mean / whole, the ends are whole * sigmoid(logit(x) -+ h' /
    (x (1 - x))), h' = h / whole (the delta method; Agresti, Categorical Data Analysis, 2013, 1.4 and 16.1).

    >>> found = as_share(Estimate(0.958, 0.911, 1.005))
    >>> round(found.low, 3), round(found.high, 3)
    (0.876, 0.987)
    """
    x = found.mean / whole
    if found.low is None or found.high is None or not 0 < x < 1:
        return found
    half = (found.high - found.low) / 2 / whole / (x * (1 - x))
    ends = (1 / (1 + math.exp(min(700.0, sign * half - math.log(x / (1 - x))))) for sign in (1, -1))
    low, high = (whole * end for end in ends)
    return replace(found, low=low, high=high)


def over_examples(differences: Sequence[float]) -> Estimate | None:
    """Mean difference of two systems on the same examples, +- 1.96 standard errors; None below two examples.

    >>> found = over_examples([1.0, 0.0, 1.0, 0.0])
    >>> found.mean, round(found.high, 4), found.how
    (0.5, 1.0658, 'paired by example')
    """
    return _around(differences, _NORMAL, "paired by example") if len(differences) >= 2 else None


def _around(values: Sequence[float], errors: float, how: str) -> Estimate:
    """The mean with an interval of ``errors`` standard errors on either side."""
    mean, half = fmean(values), errors * stdev(values) / math.sqrt(len(values))
    return Estimate(mean, mean - half, mean + half, len(values), how)


def _p(mean: float, error: float, degrees: float) -> float:
    """Two-sided, of zero, by Student's t; without any spread 1 for zero and 0 for all else."""
    from scipy.special import stdtr

    if error <= 1e-15:
        return float(abs(mean) <= 1e-15)
    return 2 * float(stdtr(degrees, -abs(mean) / error))


def difference(values: Mapping[int, float], base: Mapping[int, float]) -> Estimate | None:
    """``values`` minus ``base``, both by seed: paired over the seeds that both have, where those are two or more.

    Else Welch's interval, where both have two values or more; else the difference of the means alone. None where one
    of them has no value.

    >>> found = difference({0: 3.0, 1: 5.0}, {0: 1.0, 1: 3.0, 2: 9.0})
    >>> found.mean, found.n, found.how
    (2.0, 2, 'paired by seed')
    """
    if not values or not base:
        return None
    common = sorted(set(values) & set(base))
    if len(common) >= 2:
        return replace(over_seeds([values[seed] - base[seed] for seed in common]), how="paired by seed")
    samples = [list(values.values()), list(base.values())]
    mean, n = fmean(samples[0]) - fmean(samples[1]), min(map(len, samples))
    if n < 2:
        return Estimate(mean, n=n)
    parts = [stdev(sample) ** 2 / len(sample) for sample in samples]
    half = 0.0
    if sum(parts) > 0:
        spread = sum(part**2 / (len(sample) - 1) for part, sample in zip(parts, samples, strict=True))
        half = t_quantile(sum(parts) ** 2 / spread) * math.sqrt(sum(parts))
    return Estimate(mean, mean - half, mean + half, n, "unpaired (Welch)")


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over lists with its 95% bootstrap interval."""

    mean: float
    low: float
    high: float
    lists: int

    def to_dict(self) -> dict[str, float]:
        """For run.json."""
        return asdict(self)

    def __str__(self) -> str:
        """As ``0.597 [0.541, 0.650]``."""
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def bootstrap_interval(per_list: npt.ArrayLike, seed: int = 0) -> Interval:
    """Mean and 95% percentile bootstrap interval over lists (2000 resamples); NaN (lists without a pair) are left out.

    >>> print(bootstrap_interval([1.0, 1.0, 1.0]))
    1.000 [1.000, 1.000]
    """
    values = np.asarray(per_list, np.float64)
    return _bootstrap(values[~np.isnan(values)], lambda drawn: drawn.mean(axis=-1), seed)


def by_spread(figure: float, redrawn: Sequence[float], examples: int) -> Interval:
    """A figure +- 1.96 standard deviations of what it is on redrawn examples (a normal bootstrap interval).

    >>> print(by_spread(10.0, [9.0, 10.0, 11.0], 30))
    10.000 [8.040, 11.960]
    """
    half = _NORMAL * stdev(redrawn)
    return Interval(figure, figure - half, figure + half, examples)


def balanced_interval(rows: Sequence[Sequence[float]]) -> Interval:
    """Pair accuracy balanced in length, with a 95% percentile bootstrap interval over lists.

    rows: for each list (right, pairs) where the better response is longer, then where it is shorter. The figure is the
    mean of the two shares of pairs that are right, so "longer is better" gets one half, and so does "shorter is".
    ``lists`` counts the lists with a pair of unequal length; 0, and NaN, where one of the two kinds is missing.

    >>> balanced_interval([[3, 3, 0, 1], [1, 1, 0, 0]]).mean  # what length alone gets
    0.5
    """
    table = np.array(sorted(map(tuple, rows)), np.float64).reshape(-1, 4)
    both = table[:, 1].any() and table[:, 3].any()
    return _bootstrap(table[table[:, [1, 3]].any(axis=1) & both], _balanced, 0)


def _balanced(table: FloatArray) -> FloatArray:
    longer, of_longer, shorter, of_shorter = np.moveaxis(table.sum(axis=-2), -1, 0)
    with np.errstate(invalid="ignore"):  # NaN where a sample has none of one kind
        return np.asarray((longer / of_longer + shorter / of_shorter) / 2)


def _bootstrap(rows: FloatArray, figure: Callable[[FloatArray], FloatArray], seed: int) -> Interval:
    """The figure of the rows, and percentiles of that of rows drawn from them, samples where it is NaN left out."""
    if not len(rows):
        return Interval(math.nan, math.nan, math.nan, 0)
    drawn = rows[np.random.default_rng(seed).integers(0, len(rows), (_SAMPLES, len(rows)))]
    low, high = np.nanquantile(figure(drawn), [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Interval(float(figure(rows)), float(low), float(high), len(rows))


def spearman(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Spearman's rank correlation, ties at their mean rank; None where either is constant.

    >>> spearman([1, 2, 3, 4], [1, 2, 4, 3]), spearman([1, 1], [1, 2])
    (0.8, None)
    """
    from scipy.stats import rankdata

    a, b = rankdata(one), rankdata(other)
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return round(float(np.corrcoef(a, b)[0, 1]), 12)


def crossed(values: npt.ArrayLike) -> Estimate:
    """Mean of a table of seeds by questions, both drawn at random, with its 95% interval and the p-value of zero.

    The model is value = mean + seed + question + rest. With S seeds, Q questions and the mean squares of the two-way
    analysis of variance, Var(mean) = (MS_seed + MS_question - MS_rest) / (S Q), at least that of the largest of the
    three alone, and Student's t with Satterthwaite's degrees of freedom (Searle, Casella and McCulloch, Variance
    Components, 1992, ch. 4; Satterthwaite 1946). With one seed, or one question, the other alone is random.

    n is S. needed: how many seeds with these questions, or questions with these seeds, would put the mean 2.8 standard
    errors from zero (a test at 5% then finds it four times in five); None where no number does.

    Shape: (seeds, questions).

    >>> found = crossed([[1.0, 0.0, 1.0, 0.0], [1.0, 0.0, 1.0, 0.0]])
    >>> found.mean, round(found.high, 3), round(found.p, 3), found.needed
    (0.5, 1.419, 0.182, (None, 11))
    """
    table = np.asarray(values, np.float64)
    seeds, asked = table.shape
    mean, by_seed, by_question = float(table.mean()), table.mean(axis=1), table.mean(axis=0)
    rest = table - by_seed[:, None] - by_question + mean
    squares = [asked * ((by_seed - mean) ** 2).sum(), seeds * ((by_question - mean) ** 2).sum(), (rest**2).sum()]
    degrees = [seeds - 1, asked - 1, (seeds - 1) * (asked - 1)]
    means = [float(square) / degree if degree else 0.0 for square, degree in zip(squares, degrees, strict=True)]
    total = max(means[0] + means[1] - means[2], *means)
    how = "over seeds and questions" if seeds > 1 else "over questions, one seed"
    if not any(degrees):
        return Estimate(mean)
    if total <= 1e-30:
        return Estimate(mean, mean, mean, seeds, how, _p(mean, 0.0, 1.0))
    freedom = total**2 / sum(m**2 / degree for m, degree in zip(means, degrees, strict=True) if degree)
    error = math.sqrt(total / table.size)
    half = t_quantile(freedom) * error
    needed = _needed(mean, means, seeds, asked)
    return Estimate(mean, mean - half, mean + half, seeds, how, _p(mean, error, freedom), needed)


def _needed(mean: float, means: Sequence[float], seeds: int, asked: int) -> tuple[int | None, int | None]:
    """Seeds with ``asked`` questions, or questions with ``seeds`` seeds, for 2.8 standard errors."""
    of_seed, of_question = max(0.0, (means[0] - means[2]) / asked), max(0.0, (means[1] - means[2]) / seeds)
    allowed = (mean / _SEEN) ** 2
    found = []
    for fixed, falls in (
        (of_question / asked, of_seed + means[2] / asked), (of_seed / seeds, of_question + means[2] / seeds)
    ):  # fmt: skip
        found.append(max(2, math.ceil(falls / (allowed - fixed))) if allowed > fixed else None)
    return found[0] if seeds > 1 else None, found[1]


def holm(ps: Sequence[float | None]) -> list[float]:
    """p-values corrected for their number (Holm 1979): the i-th smallest of m times m - i + 1, never falling.

    None counts as 1.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    known = [1.0 if p is None else p for p in ps]
    corrected, largest = [0.0] * len(ps), 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=known.__getitem__)):
        largest = max(largest, min(1.0, (len(ps) - rank) * known[place]))
        corrected[place] = largest
    return corrected
