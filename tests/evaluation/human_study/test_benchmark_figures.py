"""Agreement and significance: values worked by hand, and against scipy's own view of the same."""

import numpy as np
import pytest
from scipy import stats

from tuna.evaluation.human_study.benchmark import agreement, by_pair, by_system, holm, kendall_w


def test_concordance_by_hand() -> None:
    assert kendall_w(np.array([[3.0, 2.0, 1.0]] * 4)) == pytest.approx(1.0)
    assert kendall_w(np.array([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0]])) == pytest.approx(0.0)
    assert kendall_w(np.array([[3.0, 2.0, 1.0]])) is None
    assert kendall_w(np.array([[2.0, 2.0], [2.0, 2.0]])) is None
    # both tie the last two: sums 6, 3, 3, S = 6; 12 * 6 / (4 * 24 - 2 * (6 + 6)) = 1
    assert kendall_w(np.array([[3.0, 1.5, 1.5], [3.0, 1.5, 1.5]])) == pytest.approx(1.0)


def test_concordance_is_friedmans_statistic() -> None:
    points = np.array([np.random.default_rng(k).permutation(5) + 1.0 for k in range(6)])
    statistic = stats.friedmanchisquare(*points.T).statistic
    assert kendall_w(points) == pytest.approx(statistic / (6 * (5 - 1)))


def test_two_peoples_concordance_is_their_spearman() -> None:
    points = np.array([[[5.0, 4, 3, 2, 1], [4.0, 5, 3, 1, 2]]])
    rho = stats.spearmanr(*points[0]).statistic
    found = agreement(points)
    assert found["kendall_w"] == pytest.approx((rho + 1) / 2)
    assert found["kendall_tau"] == pytest.approx((8 - 2) / 10)  # two of ten pairs are turned round


def test_agreement_of_one_person_is_none() -> None:
    assert agreement(np.array([[[3.0, 2.0, 1.0]]])) == {"kendall_w": None, "kendall_tau": None}


def test_holm_by_hand() -> None:
    assert holm([0.001, 0.2, 0.01, 0.5]) == [0.004, 0.4, 0.03, 0.5]
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_pairs_are_tested_over_questions() -> None:
    rng = np.random.default_rng(0)
    points = np.empty((40, 2, 3))
    for question in points:
        for person in question:
            other = rng.permutation([1.0, 2.0])
            person[:] = [3.0, *other] if rng.random() < 0.9 else [other[0], 3.0, other[1]]
    rows = by_pair(points, ["a", "b", "c"], alpha=0.01)
    each = points.mean(axis=1)
    first = stats.wilcoxon(each[:, 0], each[:, 1]).pvalue
    assert rows[0]["better"] == "a" and rows[0]["p"] == pytest.approx(first)
    assert rows[0]["difference"] == pytest.approx((each[:, 0] - each[:, 1]).mean())
    assert [row["significant"] for row in rows] == [True, True, False]
    assert all(row["p_holm"] >= row["p"] for row in rows)


def test_equal_systems_differ_by_nothing() -> None:
    points = np.full((5, 2, 2), 1.5)
    assert by_pair(points, ["a", "b"], 0.01) == [
        {
            "better": "a", "worse": "b", "difference": 0.0, "questions": 0, "p": 1.0, "p_holm": 1.0,
            "significant": False,
        }
    ]  # fmt: skip


def test_equal_sums_are_equal_points() -> None:
    """Thirds of points, added up in another order, differ in the last digit."""
    points = np.array(
        [
            [[3.0, 2, 1], [2, 3, 1], [1, 2, 3]],
            [[3.0, 1, 2], [2, 3, 1], [2, 3, 1]],
            [[1.0, 2, 3], [3, 2, 1], [3, 2, 1]],
        ]
    )
    rows = by_system(points, ["a", "b", "c"], seed=0)
    assert rows[0]["points"] == rows[1]["points"] == pytest.approx(20 / 9)
    pair = by_pair(points, ["a", "b", "c"], 0.01)[0]
    assert pair["better"] == "a" and pair["difference"] == 0 and pair["questions"] == 2


def test_means_over_questions_and_people() -> None:
    points = np.array([[[2.0, 1.0], [1.0, 2.0]], [[2.0, 1.0], [2.0, 1.0]]])
    rows = by_system(points, ["a", "b"], seed=0)
    assert [row["points"] for row in rows] == [1.75, 1.25] and [row["first"] for row in rows] == [0.75, 0.25]
    assert rows[0]["low"] == 1.5 and rows[0]["high"] == 2.0
