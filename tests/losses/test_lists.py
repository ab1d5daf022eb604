"""tuna.losses.lists: the metrics read off ranked lists."""

import math

import pytest
import torch

from tests.losses import naive
from tests.losses.make import NAN, random_lists, split
from tuna.losses.base import ScoredLists
from tuna.losses.lists import as_lists, extremes, pair_accuracy, violations


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
