"""Figures of comparisons: values worked by hand, the fit against a slow search, what is missing."""

import math

import numpy as np
import pytest

from tuna.evaluation.vicuna_qa import RIDGE, Judged, by_category, length_controlled, scores
from tuna.judges.base import Comparison

WIN, LOSE, TIE, FLIP, ERROR = (
    Comparison((1, 1)), Comparison((-1, -1)), Comparison((0, 0)), Comparison((1, -1)), Comparison((1, None), "no mark"),
)  # fmt: skip


def judged(*parts: tuple[str, Comparison, int]) -> list[Judged]:
    return [Judged(category, comparison, 100 + longer, 100) for category, comparison, longer in parts]


def test_by_hand() -> None:
    found, interval = scores(
        judged(("a", WIN, 40), ("a", WIN, 20), ("a", FLIP, 0), ("b", LOSE, -20), ("b", ERROR, 900), ("b", TIE, 0))
    )
    assert found["adjusted_win_rate"] == pytest.approx((2 + 2 / 2) / 5)
    assert (found["win"], found["lose"], found["tie"], found["error"]) == (2, 1, 2, 1)
    assert found["flip_rate"] == pytest.approx(1 / 5)
    # ranks of length 5 4 2.5 1 2.5, of preference 4.5 4.5 2.5 1 2.5: covariance 9 of sqrt(9.5 * 9)
    assert found["length_correlation"] == pytest.approx(9 / math.sqrt(9.5 * 9))
    assert interval.low <= 0.6 <= interval.high and interval.lists == 5


def test_the_table_adds_up() -> None:
    rows = by_category(judged(("b", WIN, 0), ("a", TIE, 0), ("b", ERROR, 0), ("", LOSE, 0)))
    assert [row["category"] for row in rows] == ["b", "a", "-", "total"]
    assert rows[0] == {"category": "b", "n": 2, "win": 1, "lose": 0, "tie": 0, "error": 1, "adjusted_win_rate": 1.0}
    assert rows[3] == {"category": "total", "n": 4, "win": 1, "lose": 1, "tie": 1, "error": 1, "adjusted_win_rate": 0.5}
    assert by_category(judged(("a", ERROR, 0)))[0]["adjusted_win_rate"] is None


def test_nothing_judged() -> None:
    found, interval = scores(judged(("a", ERROR, 5)))
    assert found == {
        "adjusted_win_rate": None, "length_controlled_win_rate": None, "win": 0, "lose": 0, "tie": 0, "error": 1,
        "flip_rate": None, "length_correlation": None,
    }  # fmt: skip
    assert interval.lists == 0


def test_the_bootstrap_covers_and_repeats() -> None:
    parts = judged(*[("a", WIN if k % 10 < 7 else LOSE, k) for k in range(100)])
    _, interval = scores(parts, seed=3)
    half = 1.96 * math.sqrt(0.7 * 0.3 / 100)
    assert interval.low == pytest.approx(0.7 - half, abs=0.02) and interval.high == pytest.approx(0.7 + half, abs=0.02)
    assert scores(parts, seed=3)[1] == interval


def test_the_fit_is_the_best_of_a_grid() -> None:
    rng = np.random.default_rng(0)
    differences = rng.normal(60, 200, 80)
    preferences = np.where(rng.random(80) < 1 / (1 + np.exp(-0.4 - differences / 200)), 1.0, 0.0)
    preferences[:8] = 0.5
    x = np.tanh(differences / np.sqrt((differences**2).mean()))
    best = (math.inf, 0.0)
    for a in np.linspace(-1, 2, 301):
        for b in np.linspace(-1, 5, 301):
            p = 1 / (1 + np.exp(-a - b * x))
            value = -(preferences * np.log(p) + (1 - preferences) * np.log(1 - p)).sum() + RIDGE / 2 * (a * a + b * b)
            best = min(best, (float(value), float(a)))
    assert length_controlled(preferences.tolist(), differences.tolist()) == pytest.approx(
        1 / (1 + math.exp(-best[1])), abs=0.002
    )


def test_a_judge_of_length_alone_gives_one_half_at_equal_length() -> None:
    differences = [10.0 * k for k in range(-20, 60)]
    preferences = [1.0 if d > 0 else 0.0 for d in differences]
    assert sum(preferences) / len(preferences) > 0.7
    assert length_controlled(preferences, differences) == pytest.approx(0.5, abs=0.1)


def test_the_other_systems_view_is_the_complement() -> None:
    differences, preferences = [30.0, -200.0, 7.0, 90.0], [1.0, 0.5, 0.0, 1.0]
    other = length_controlled([1 - p for p in preferences], [-d for d in differences])
    assert length_controlled(preferences, differences) == pytest.approx(1 - other, abs=1e-6)


def test_all_won_is_finite() -> None:
    assert 0.95 < length_controlled([1.0] * 80, [float(k) for k in range(-40, 40)]) < 1
