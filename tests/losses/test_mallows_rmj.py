"""Mallows-RMJ against its ranking model, all orders of four candidates counted."""

import math
from dataclasses import replace
from itertools import pairwise, permutations

import pytest
import torch

from tuna.losses.base import ScoredLists
from tuna.losses.mallows_rmj import MallowsRMJ


def lists_with(scores: list[float]) -> ScoredLists:
    """Four candidates, their log-ratios falling from the first to the last."""
    return ScoredLists(
        logprobs=torch.tensor([-1.0, -2.0, -3.0, -4.0], dtype=torch.float64), lengths=torch.ones(4).long(),
        scores=torch.tensor(scores), targets=torch.zeros(4, dtype=torch.bool), groups=torch.zeros(4).long(),
        weights=torch.ones(1), reference=torch.full((4,), -2.0, dtype=torch.float64),
    )  # fmt: skip


def chance(chosen: tuple[int, ...]) -> float:
    """Of the first places, over all orders: exp(-sum over descents at place i of (4 - i)), candidate 0 the best."""
    weights = {
        order: math.exp(-sum(4 - i for i, (j, k) in enumerate(pairwise(order), 1) if j > k))
        for order in permutations(range(4))
    }
    begun = sum(weight for order, weight in weights.items() if order[: len(chosen)] == chosen)
    return begun / sum(weights.values())


@pytest.mark.parametrize("top", [1, 2, 3, 4])
def test_is_minus_the_log_likelihood_of_the_top_places(top: int) -> None:
    loss = MallowsRMJ(top=top, beta=1e6, dispersion="none")  # so sharp a sigmoid only counts
    constants = set()
    for order in permutations(range(4)):
        scores = [4.0 - order.index(candidate) for candidate in range(4)]
        cost = loss(lists_with(scores))["rank"].sum.item()
        constants.add(round(cost + math.log(chance(order[:top])), 9))
    assert len(constants) == 1


def test_a_list_that_the_reference_is_sure_of_counts_more() -> None:
    lists, loss = lists_with([4.0, 3.0, 2.0, 1.0]), MallowsRMJ(vocabulary=100)
    plain = MallowsRMJ(dispersion="none")(lists)["rank"].sum.item()
    assert loss(lists)["rank"].sum.item() == pytest.approx(plain * -math.log(2 / math.log(100)))
    unsure = replace(lists, reference=torch.full((4,), -6.0, dtype=torch.float64))  # less likely than at random
    assert loss(unsure)["rank"].sum.item() == 0
