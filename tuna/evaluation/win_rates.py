"""Figures of pairwise comparisons: win rates with and without length, flips, by category. Pure functions."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tuna.judges.base import Comparison
from tuna.stats import Interval, bootstrap_interval, spearman

RIDGE = 0.01
OUTCOMES: tuple[Literal["win", "lose", "tie", "error"], ...] = ("win", "lose", "tie", "error")
_PREFERENCE = {"win": 1.0, "tie": 0.5, "lose": 0.0}


@dataclass(frozen=True, slots=True)
class Judged:
    """One question: what the judge said of the first system's answer, and both answers' lengths in characters."""

    category: str
    comparison: Comparison
    length: int
    baseline_length: int

    @property
    def preference(self) -> float | None:
        """1 for a win, one half for a tie, 0 for a loss, None where there is no verdict."""
        return _PREFERENCE.get(self.comparison.outcome)


def scores(judged: Sequence[Judged], seed: int = 0) -> tuple[dict[str, float | None], Interval]:
    """All figures of the first system, and the bootstrap interval (over questions) of its adjusted win rate.

    adjusted_win_rate = (win + tie / 2) / (win + lose + tie). flip_rate: of the questions with both orders readable, the
    share whose two verdicts disagree. length_correlation: Spearman of the difference in length and the preference.
    length_controlled_win_rate: see there. A figure without anything to go by is None.
    """
    known = [item for item in judged if item.preference is not None]
    preferences = _preferences(judged)
    differences = [float(item.length - item.baseline_length) for item in known]
    interval = bootstrap_interval(preferences, seed)
    found: dict[str, float | None] = {
        "adjusted_win_rate": interval.mean if known else None,
        "length_controlled_win_rate": length_controlled(preferences, differences) if known else None,
        **_counts(judged),
        "flip_rate": sum(item.comparison.flipped for item in known) / len(known) if known else None,
        "length_correlation": spearman(differences, preferences),
    }
    return found, interval


def by_category(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """Win, lose, tie and error of each category in the order in which they come, then of all."""
    names = dict.fromkeys(item.category for item in judged)
    parts = [(name or "-", [item for item in judged if item.category == name]) for name in names]
    rows = []
    for name, part in [*parts, ("total", list(judged))]:
        known = _preferences(part)
        rate = sum(known) / len(known) if known else None
        rows.append({"category": name, "n": len(part), **_counts(part), "adjusted_win_rate": rate})
    return rows


def _counts(judged: Sequence[Judged]) -> dict[str, int]:
    counts = Counter(item.comparison.outcome for item in judged)
    return {outcome: counts[outcome] for outcome in OUTCOMES}


def _preferences(judged: Sequence[Judged]) -> list[float]:
    return [item.preference for item in judged if item.preference is not None]


def length_controlled(preferences: Sequence[float], differences: Sequence[float]) -> float:
    """The win rate that a logistic regression expects between answers of equal length.

    In the spirit of AlpacaEval 2 (Dubois et al., 2024), for one pair of systems: p = sigmoid(a + b x) is fitted to the
    preferences (1, 0.5, 0) by maximum likelihood, where x = tanh(difference / its root mean square), so that no single
    very long answer decides; the figure is sigmoid(a), at x = 0. A ridge of 0.01 / 2 * (a^2 + b^2) keeps the fit finite
    when every question is won. Their per-question difficulty term needs other systems' verdicts and is left out.

    preferences, differences: [N], the latter in characters.

    >>> round(length_controlled([1, 1, 0, 0], [50, 60, -50, -60]), 3)  # length explains it all
    0.5
    >>> round(length_controlled([1, 1, 1, 0], [0, 0, 0, 0]), 3)  # length explains nothing
    0.747
    """
    from scipy.optimize import minimize

    y, d = np.asarray(preferences, np.float64), np.asarray(differences, np.float64)
    scale = math.sqrt(float((d**2).mean()))
    x = np.tanh(d / scale) if scale else d
    design = np.stack([np.ones_like(x), x], axis=1)

    def loss(weights: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        logits = design @ weights
        value = np.logaddexp(0, logits).sum() - y @ logits + RIDGE / 2 * weights @ weights
        return float(value), design.T @ (1 / (1 + np.exp(-logits)) - y) + RIDGE * weights

    found = minimize(loss, np.zeros(2), jac=True, method="BFGS", options={"gtol": 1e-9})
    return float(1 / (1 + np.exp(-found.x[0])))
