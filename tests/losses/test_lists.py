"""tuna.losses.lists: the metrics read off ranked lists."""

import math

import pytest
import torch
from scipy.stats import kendalltau

from tests.losses import naive
from tests.losses.make import NAN, random_lists, split
from tuna.losses.base import (
    RewardLists,
    ScoredLists,
    as_lists,
    best_of_n,
    extremes,
    kendall_tau,
    ndcg,
    pair_accuracy,
    right_by_length,
    violations,
)


@pytest.mark.parametrize("seed", range(10))
def test_pair_accuracy_equals_the_naive_loop(seed: int) -> None:
    lists = random_lists(seed)
    found = pair_accuracy(as_lists(lists)).tolist()
    for value, (v, scores) in zip(found, split(lists), strict=True):
        expected = naive.pair_accuracy(v, scores)
        assert value == pytest.approx(expected, abs=1e-6) or (math.isnan(value) and math.isnan(expected))


def example() -> ScoredLists:
    # One list, v = (-1, -2, -1.5, -4) with scores (3, 2, 2, 1), and an unranked original; then an all-tied list.
    return ScoredLists(
        logprobs=torch.tensor([-2.0, -4.0, -3.0, -8.0, -9.0, -1.0, -1.0]),
        lengths=torch.tensor([2, 2, 2, 2, 1, 1, 1]),
        scores=torch.tensor([3.0, 2.0, 2.0, 1.0, NAN, 5.0, 5.0]),
        targets=torch.tensor([False] * 7),
        groups=torch.tensor([0, 0, 0, 0, 0, 1, 1]),
        weights=torch.ones(2),
    )


def test_extremes_and_violations_by_hand() -> None:
    ranked = as_lists(example())
    best, worst = extremes(ranked)
    assert best[0].item() == -1.0 and worst[0].item() == -4.0
    assert math.isnan(best[1].item()) and math.isnan(worst[1].item())
    # Gaps: 1.0, 0.5 (distance 1), 3.0 (distance 2), 2.0, 2.5 (distance 1); at margin 0.6 only 0.5 is short: 1 of 5.
    assert violations(ranked, 0.6)[0].item() == pytest.approx(0.2)
    assert math.isnan(violations(ranked, 0.6)[1].item())


def test_a_batch_without_any_ranked_response() -> None:
    lists = ScoredLists(
        logprobs=torch.tensor([-1.0]),
        lengths=torch.tensor([1]),
        scores=torch.tensor([NAN]),
        targets=torch.tensor([True]),
        groups=torch.tensor([0]),
        weights=torch.ones(1),
    )
    assert math.isnan(pair_accuracy(as_lists(lists))[0].item())


@pytest.mark.parametrize("seed", range(10))
def test_kendall_tau_is_scipys_and_best_of_n_the_naive_loops(seed: int) -> None:
    lists = random_lists(seed)
    tied = lists.logprobs.detach().round() * lists.lengths  # v in whole numbers, so that some are equal
    lists = ScoredLists(tied, lists.lengths, lists.scores, lists.targets, lists.groups, lists.weights)
    ranked = as_lists(lists)
    for tau, hit, (v, scores) in zip(
        kendall_tau(ranked).tolist(), best_of_n(ranked).tolist(), split(lists), strict=True
    ):
        for found, expected in ((tau, kendalltau(v, scores).statistic), (hit, naive.best_of_n(v, scores))):
            assert found == pytest.approx(expected, abs=1e-6) or (math.isnan(found) and math.isnan(expected))


def test_ndcg_by_hand() -> None:
    # Ranks 0, 1, 1, 2: y = 1, 1/2, 1/2, 0 and gains 1, sqrt(2) - 1 (twice), 0.
    lists, middle = example(), math.sqrt(2) - 1
    right, wrong = ndcg(as_lists(lists)), ndcg(as_lists(lists, -lists.values))
    assert right[0].item() == pytest.approx(1) and math.isnan(right[1].item())
    both = middle / math.log2(3) + middle / 2  # the middle ones are at places 2 and 3 either way
    assert wrong[0].item() == pytest.approx((both + 1 / math.log2(5)) / (1 + both))
    lists = ScoredLists(  # a pair in the wrong order beside a longer list; equal v stand in their order
        torch.tensor([-2.0, -1.0, -1.0, -1.0, -1.0]), torch.ones(5), torch.tensor([1.0, 0.0, 2.0, 1.0, 0.0]),
        torch.zeros(5) > 0, torch.tensor([0, 0, 1, 1, 1]), torch.ones(2),
    )  # fmt: skip
    assert ndcg(as_lists(lists)).tolist() == pytest.approx([1 / math.log2(3), 1.0])


def test_right_by_length_by_hand() -> None:
    # Scores (3, 2, 2, 1), v (-1, -2, -1.5, -4), lengths (2, 5, 1, 2): better longer: 0>2, 1>3; shorter: 0>1, 2>3.
    lists = example()
    lengths = torch.tensor([2.0, 5.0, 1.0, 2.0, 9.0, 1.0, 1.0])
    rows = right_by_length(as_lists(lists), as_lists(lists, lengths))
    assert rows[0].tolist() == [2.0, 2.0, 2.0, 2.0]  # the pair 0>3 is of equal length
    wrong = as_lists(lists, -lists.values)
    assert right_by_length(wrong, as_lists(lists, lengths))[0].tolist() == [0.0, 2.0, 0.0, 2.0]
    assert right_by_length(as_lists(lists, lengths), as_lists(lists, lengths))[0].tolist() == [2.0, 2.0, 0.0, 2.0]
    assert rows[1].tolist() == [0.0] * 4  # all tied


def test_rewards_order_as_they_are() -> None:
    lists = example()
    rewards = RewardLists(lists.logprobs, lists.lengths, lists.scores, lists.targets, lists.groups, lists.weights)
    assert as_lists(rewards).v[0].tolist() == [-2.0, -4.0, -3.0, -8.0]
