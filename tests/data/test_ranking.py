"""Scores, ties and pair_accuracy against values worked by hand and naive loops."""

import math

import numpy as np
import pytest

from tuna.data.batch import Group
from tuna.data.fields import FieldError
from tuna.data.ranking import (
    LARGEST_BETA,
    LARGEST_LENGTH,
    baselines,
    check_rankable,
    count_pairs,
    eq3,
    pair_accuracy,
    score_for_original,
    tie,
)
from tuna.data.record import Candidate, Record
from tuna.datamodules.ranked import ContextualDataModule
from tuna.errors import ConfigError
from tuna.evaluation.likelihood import Agreement
from tuna.ranking.rankers.probabilistic import Probabilistic
from tuna.stats import bootstrap_interval


def test_eq3_by_hand() -> None:
    assert eq3(-8.0, 4, 1.5) == -1.0
    assert eq3(-8.0, 4, 0.0) == -8.0


def test_ties_without_a_gap_change_nothing() -> None:
    assert tie([2.0, 1.0, 1.0, -0.5], 0.0) == [2.0, 1.0, 1.0, -0.5]


def test_min_gap_ties_every_pair_closer_than_it() -> None:
    assert tie([0.0, 1.0, 0.5], 0.5) == [0.0, 1.0, 0.5]
    assert tie([0.0, 1.0, 0.5], 0.75) == [1.0, 1.0, 1.0]
    assert tie([0.3, 0.2], 0.1) != tie([0.3, 0.3], 0.1)  # as binary numbers they are less than 0.1 apart
    assert tie([0.9, 0.8, 0.7], 0.1) == tie([0.9, 0.8, 0.7], 0.0)
    rng = np.random.default_rng(0)
    for _ in range(50):
        scores, gap = rng.random(6).tolist(), float(rng.random() / 3)
        tied = tie(scores, gap)
        for i in range(6):
            for j in range(6):
                if abs(scores[i] - scores[j]) < gap:
                    assert tied[i] == tied[j]
                if tied[i] > tied[j]:
                    assert scores[i] > scores[j]


def test_scores_one_float32_apart_stay_as_the_loss_sees_them() -> None:
    assert count_pairs(tie([1.0, 1.0 + 1e-12], 0.0)) == 0


def test_beside_large_scores_is_still_another_float32() -> None:
    assert np.float32(score_for_original([1e9], "best")) > np.float32(1e9)
    assert np.float32(score_for_original([1e9], "worst")) < np.float32(1e9)


def _naive(values: list[float], scores: list[float]) -> float:
    right = pairs = 0.0
    for i in range(len(scores)):
        for j in range(len(scores)):
            if scores[i] > scores[j]:
                pairs += 1
                right += 1.0 if values[i] > values[j] else 0.5 if values[i] == values[j] else 0.0
    return right / pairs if pairs else math.nan


def test_pair_accuracy_against_a_loop() -> None:
    rng = np.random.default_rng(1)
    lists = [int(k) for k in rng.integers(1, 8, 40)]
    values = [rng.integers(0, 4, k).astype(float) for k in lists]
    scores = [rng.choice([0.0, 1.0, 2.0, np.nan], k) for k in lists]
    expected = [_naive(list(v), list(s)) for v, s in zip(values, scores, strict=True)]
    np.testing.assert_allclose(pair_accuracy(values, scores), expected)


def test_bootstrap_leaves_out_lists_without_a_pair_and_repeats() -> None:
    values = [0.0, 1.0, math.nan, 1.0, 0.5]
    interval = bootstrap_interval(values)
    assert interval.mean == pytest.approx(0.625)
    assert interval.lists == 4
    assert interval.low <= interval.mean <= interval.high
    assert interval == bootstrap_interval(values)
    # The normal interval of 400 fair coins, to a hundredth.
    coins = np.random.default_rng(0).integers(0, 2, 400)
    found = bootstrap_interval(coins)
    half = 1.96 * coins.std() / math.sqrt(400)
    assert found.high - found.mean == pytest.approx(half, abs=0.01)
    assert math.isnan(bootstrap_interval([]).mean)


@pytest.mark.parametrize(
    ("candidates", "rank_by", "message"),
    [
        ((Candidate("a", 1.0),), "score", "responses: expected two responses or more, got a list of 1"),
        (
            (Candidate("a", 1.0), Candidate("b")),
            "score",
            r"responses\[1\].score: expected a finite number, got nothing",
        ),
        ((Candidate("a", logprob=-1.0),) * 2, "score", "set datamodule.rank_by=eq3"),
        ((Candidate("a", 1.0),) * 2, "eq3", r"logprob.*rank.py ranker=probabilistic score_only=true.*rank_by=score"),
        (
            (Candidate("a", logprob=-1.0, num_tokens=0),) * 2,
            "eq3",
            "num_tokens: expected a whole number from 1 to 10000000",
        ),
    ],
)
def test_what_cannot_be_ranked(candidates: tuple[Candidate, ...], rank_by: str, message: str) -> None:
    with pytest.raises(FieldError, match=message):
        check_rankable(Record("0", "Do.", responses=candidates), rank_by)


@pytest.mark.parametrize("beta", [-0.1, 5.1, 1000.0, float("inf"), float("nan")])
def test_an_absurd_beta_is_refused_wherever_it_is_given(beta: float) -> None:
    """1000 overflowed |r| ** beta; 30 made every score 0 in float32, and every pair a tie."""
    for make in (
        lambda: Probabilistic(beta=beta),
        lambda: Agreement(beta=beta),
        lambda: ContextualDataModule(beta=beta),
    ):
        with pytest.raises(ConfigError, match=r"beta: expected .*0 to 5"):
            make()


def test_at_the_largest_beta_scores_still_differ() -> None:
    low, high = (eq3(logprob, LARGEST_LENGTH, LARGEST_BETA) for logprob in (-3.0, -2.0))
    assert tie([low, high], 0.0)[0] < tie([low, high], 0.0)[1] < 0


def _group(sizes: list[int], scores: list[float]) -> Group:
    responses = tuple(np.ones(size, np.int32) for size in sizes)
    return Group("0", np.ones(1, np.int32), responses, tuple(scores), (False,) * len(sizes))


def test_length_by_hand_and_chance_near_a_half() -> None:
    # The longer is better in both pairs of the first, one of three right in the second; the third is all tied.
    groups = [_group([3, 2, 9], [2, 1, float("nan")]), _group([1, 2, 2], [3, 2, 1]), _group([1, 2], [0, 0])]
    found = baselines(groups)
    assert found["length"].mean == (1 + (0 + 0 + 0.5) / 3) / 2
    assert found["length"].lists == 2
    many = [_group([1, 1], [1, 0]) for _ in range(600)]
    chance = baselines(many)["random"]
    assert abs(chance.mean - 0.5) < 0.01
    # One pair a list: the mean of 600 fair coins has a standard deviation of 0.5 / sqrt(600) = 0.0204.
    assert abs(chance.high - chance.low - 2 * 1.96 * 0.0204) < 0.02
