"""tuna.losses.plackett_luce against worked values, a naive loop and finite differences."""

import itertools
import math
from dataclasses import replace

import pytest
import torch

from tests.losses.make import random_lists, split
from tests.losses.naive import plackett_luce
from tests.losses.test_pairwise import rewards
from tuna.losses.pairwise import Pairwise
from tuna.losses.plackett_luce import PlackettLuce


def value(values: list[float], scores: list[float]) -> float:
    return PlackettLuce()(rewards(values, scores))["rank"].sum.item()


def test_worked_value() -> None:
    # 2 chosen from {2, 1, 0}, then 1 from {1, 0}.
    e = math.exp
    wanted = -math.log(e(2) / (e(2) + e(1) + 1)) - math.log(e(1) / (e(1) + 1))
    assert value([1, 2, 0], [0.5, 0.9, 0.1]) == pytest.approx(wanted, abs=1e-9)


def test_it_is_a_probability_over_orders() -> None:
    orders = itertools.permutations([3.0, 2.0, 1.0, 0.0])
    assert sum(math.exp(-value([0.3, -1.0, 2.0, 0.5], list(order))) for order in orders) == pytest.approx(1, abs=1e-9)


def test_ties_are_not_ordered() -> None:
    e = math.exp
    # Two best, each chosen from itself and the worst; a tie at the end adds nothing.
    wanted = -math.log(e(2) / (e(2) + 1)) - math.log(e(1) / (e(1) + 1))
    assert value([2, 1, 0], [1, 1, 0]) == pytest.approx(wanted, abs=1e-9)
    assert value([2, 1, 0], [1, 0, 0]) == pytest.approx(-math.log(e(2) / (e(2) + e(1) + 1)), abs=1e-9)
    assert value([2, 1], [1, 1]) == 0


def test_two_candidates_are_the_pairwise_loss() -> None:
    lists = rewards([0.4, 1.1], [1, 0])
    assert value([0.4, 1.1], [1, 0]) == pytest.approx(Pairwise()(lists)["rank"].sum.item(), abs=1e-12)


@pytest.mark.parametrize("seed", range(10))
def test_equals_the_naive_loop(seed: int) -> None:
    lists = random_lists(seed, weights=seed % 2 == 1)
    expected = sum(plackett_luce(v, s) * w for (v, s), w in zip(split(lists), lists.weights.tolist(), strict=True))
    assert PlackettLuce()(lists)["rank"].sum.item() == pytest.approx(expected, abs=1e-9)


def test_gradient_against_finite_differences() -> None:
    lists = random_lists(3)  # lists of unequal length: padding has no gradient, and none that is not finite

    def loss(logprobs: torch.Tensor) -> torch.Tensor:
        return PlackettLuce()(replace(lists, logprobs=logprobs))["rank"].sum

    assert torch.autograd.gradcheck(loss, (lists.logprobs,))
