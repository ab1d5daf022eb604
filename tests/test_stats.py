import math

import numpy as np
import pytest

from tuna.stats import Estimate, crossed, difference, holm, over_examples, over_seeds, t_quantile


def test_mean_and_t_interval_by_hand() -> None:
    # 0.50, 0.54, 0.58: mean 0.54, s = 0.04, t(2) = 4.3027, half = 4.3027 * 0.04 / sqrt(3) = 0.09937
    found = over_seeds([0.50, 0.54, 0.58])
    assert found.mean == pytest.approx(0.54)
    assert [found.low, found.high] == pytest.approx([0.44063, 0.63937], abs=1e-5)
    assert (found.n, found.how) == (3, "t over seeds")


def test_one_seed_has_no_interval() -> None:
    found = over_seeds([0.5])
    assert found == Estimate(0.5, None, None, 1, "")
    assert not found.above and not found.below


@pytest.mark.parametrize(("degrees", "t"), [(1, 12.7062), (2, 4.3027), (3, 3.1824), (10, 2.2281), (1e6, 1.9600)])
def test_quantiles_of_a_printed_table(degrees: float, t: float) -> None:
    assert t_quantile(degrees) == pytest.approx(t, abs=1e-4)


def test_differences_are_paired_by_seed() -> None:
    # Over the seeds that both have, 0 and 1: differences 0.1 and 0.3, mean 0.2, s = 0.14142, half = 12.7062 * 0.1.
    found = difference({0: 0.6, 1: 0.9, 5: 0.0}, {0: 0.5, 1: 0.6, 2: 0.1})
    assert found is not None
    assert found.mean == pytest.approx(0.2) and found.n == 2 and found.how == "paired by seed"
    assert found.high == pytest.approx(0.2 + 1.27062, abs=1e-4)


def test_other_seeds_give_welch() -> None:
    # 1, 3 and 10, 14: means 2 and 12; s^2/n = 1 and 4; degrees 5^2 / (1 + 16) = 25/17; sqrt(5) standard errors
    found = difference({0: 1.0, 1: 3.0}, {2: 10.0, 3: 14.0})
    assert found is not None
    assert found.mean == -10 and found.how == "unpaired (Welch)"
    assert found.high == pytest.approx(-10 + t_quantile(25 / 17) * math.sqrt(5))


def test_one_value_each_gives_the_difference_alone() -> None:
    assert difference({0: 1.0}, {0: 3.0}) == Estimate(-2.0, None, None, 1, "")
    assert difference({}, {0: 3.0}) is None


def test_paired_examples() -> None:
    # 1, -1, 1, 1: mean 0.5, s = 1, half = 1.96 / 2
    found = over_examples([1, -1, 1, 1])
    assert found is not None
    assert [found.low, found.high] == pytest.approx([-0.48, 1.48], abs=1e-4)
    assert over_examples([1.0]) is None


def test_sides() -> None:
    found = Estimate(1.0, 0.5, 1.5)
    assert found.above and not found.below
    assert found.negated() == Estimate(-1.0, -1.5, -0.5) and found.negated().below


def test_seeds_and_questions_are_both_random_by_loops() -> None:
    table = [[0.3, 0.9, 0.1, 0.5], [0.4, 1.0, 0.0, 0.8], [0.1, 0.7, 0.2, 0.2]]
    s, q = 3, 4
    mean = sum(map(sum, table)) / (s * q)
    of_seed = [sum(row) / q for row in table]
    of_question = [sum(row[k] for row in table) / s for k in range(q)]
    ms_seed = q * sum((m - mean) ** 2 for m in of_seed) / (s - 1)
    ms_question = s * sum((m - mean) ** 2 for m in of_question) / (q - 1)
    ms_rest = sum(
        (table[i][k] - of_seed[i] - of_question[k] + mean) ** 2 for i in range(s) for k in range(q)
    ) / ((s - 1) * (q - 1))  # fmt: skip
    total = ms_seed + ms_question - ms_rest
    freedom = total**2 / (ms_seed**2 / (s - 1) + ms_question**2 / (q - 1) + ms_rest**2 / ((s - 1) * (q - 1)))
    found = crossed(table)
    half = t_quantile(freedom) * math.sqrt(total / (s * q))
    assert [found.mean, found.low, found.high] == pytest.approx([mean, mean - half, mean + half])
    assert found.p is not None and 0 < found.p < 1 and (found.p < 0.05) == found.above


def test_of_one_seed_the_questions_alone_are_random() -> None:
    found = crossed([[1.0, 0.0, 1.0, 0.0]])  # s = 0.57735, t(3) = 3.18245, half = 3.18245 * s / 2
    assert found.high == pytest.approx(0.5 + 3.18245 * 0.57735 / 2, abs=1e-4)


def test_crossed_intervals_cover_what_they_say() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        table = 0.1 * rng.normal(size=(5, 1)) + 0.3 * rng.normal(size=(1, 40)) + 0.3 * rng.normal(size=(5, 40))
        found = crossed(table)
        hits += not (found.above or found.below)
    assert 0.92 <= hits / 400 <= 0.99


@pytest.mark.parametrize("table", [[[0.0, 0.0], [0.0, 0.0]], [[0.0]]])
def test_nothing_to_tell_apart(table: list[list[float]]) -> None:
    found = crossed(table)
    assert (found.mean, found.p) in ((0.0, 1.0), (0.0, None))


def test_how_many_seeds_or_questions_would_decide() -> None:
    # Seeds differ by a variance of 1, questions by none: with S seeds the error of the mean 0.5 is 1 / sqrt(S), and
    # 2.8 of them are 0.5 at S = 31.4. More questions change nothing.
    seeds = crossed([[1.5] * 50, [0.5] * 50, [-0.5] * 50]).needed
    assert seeds == (32, None)
    assert crossed([[1.5, 0.5, -0.5]] * 4).needed == (None, 32)


def test_holm_by_hand() -> None:
    # 0.01 * 4, 0.013 * 3 (not below the one before: 0.04), 0.03 * 2, 0.5 * 1
    assert holm([0.5, 0.013, 0.01, 0.03]) == pytest.approx([0.5, 0.04, 0.04, 0.06])
    assert holm([]) == []
