"""What filled-in sheets say: mean points, how far people agree, which differences are more than chance."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import kendalltau, wilcoxon

from tuna.stats import bootstrap_interval

Points = npt.NDArray[np.float64]


def kendall_w(points: Points) -> float | None:
    """Kendall's coefficient of concordance of [annotators, systems], with ties; None where nothing can be ranked.

    W = 12 S / (m^2 (n^3 - n) - m sum T), S the squared deviations of the n rank sums from their mean, T = sum (t^3 - t)
    over a person's groups of t equal ranks. 1: all m people agree; 0: none does.

    >>> kendall_w(np.array([[3.0, 2.0, 1.0], [3.0, 1.0, 2.0]]))
    0.75
    """
    people, systems = points.shape
    sums = points.sum(axis=0)
    ties = sum(int(t**3 - t) for row in points for t in np.unique(row, return_counts=True)[1])
    most = people**2 * (systems**3 - systems) - people * ties
    if people < 2 or most == 0:
        return None
    return float(12 * ((sums - sums.mean()) ** 2).sum() / most)


def agreement(points: Points) -> dict[str, float | None]:
    """Means over questions (and pairs of people) of [questions, annotators, systems]; None for a single person."""
    concordance = [value for value in map(kendall_w, points) if value is not None]
    taus = [
        float(kendalltau(question[a], question[b]).statistic)
        for question in points
        for a, b in combinations(range(points.shape[1]), 2)
        if np.ptp(question[a]) and np.ptp(question[b])
    ]
    return {
        "kendall_w": float(np.mean(concordance)) if concordance else None,
        "kendall_tau": float(np.mean(taus)) if taus else None,
    }


def holm(values: Sequence[float]) -> list[float]:
    """p values adjusted for how many were tried (Holm, 1979): any below alpha is wrong with a chance of alpha in all.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(values)), key=lambda k: values[k])
    adjusted, most = [0.0] * len(values), 0.0
    for place, k in enumerate(order):
        most = max(most, min(1.0, (len(values) - place) * values[k]))
        adjusted[k] = most
    return adjusted


def by_pair(points: Points, systems: Sequence[str], alpha: float) -> list[dict[str, Any]]:
    """Every two systems, the better one first: Wilcoxon's signed-rank test over questions, two-sided, Holm-adjusted.

    The same questions are answered by both, hence a paired test; points are bounded ranks, hence no t test; the people
    who judged one question are no independent draws, hence their mean, one value per question. Questions on which both
    got equal points are left out (Wilcoxon's own rule); sums decide that, for points are halves and means are rounded.
    """
    each = points.sum(axis=1)
    rows: list[dict[str, Any]] = []
    for a, b in combinations(range(len(systems)), 2):
        better, worse = (a, b) if each[:, a].sum() >= each[:, b].sum() else (b, a)
        differences = each[:, better] - each[:, worse]
        rows.append({
            "better": systems[better], "worse": systems[worse],
            "difference": float(differences.mean() / points.shape[1]), "questions": int((differences != 0).sum()),
            "p": float(wilcoxon(differences).pvalue) if differences.any() else 1.0,
        })  # fmt: skip
    adjusted = holm([row["p"] for row in rows])
    return [{**row, "p_holm": p, "significant": p < alpha} for row, p in zip(rows, adjusted, strict=True)]


def by_system(points: Points, systems: Sequence[str], seed: int) -> list[dict[str, Any]]:
    """Mean points over questions and people, a bootstrap interval over questions, the share of first places.

    Systems with equal sums of points have equal means.
    """
    rows = []
    for k, system in enumerate(systems):
        own = points[:, :, k]
        interval, first = bootstrap_interval(own.mean(axis=1), seed), own == points.max(axis=2)
        rows.append({
            "system": system, "points": float(own.mean()), "low": interval.low, "high": interval.high,
            "first": float(first.mean()),
        })  # fmt: skip
    return rows
