"""tuna.losses.pairwise against worked values, a naive loop and finite differences."""

import math
from dataclasses import replace

import pytest
import torch

from tests.losses.make import random_lists, select, split
from tests.losses.naive import pairwise
from tuna.losses.base import RewardLists, ScoredLists, total
from tuna.losses.pairwise import Pairwise


def rewards(values: list[float], scores: list[float], groups: list[int] | None = None) -> RewardLists:
    count, owner = len(values), groups or [0] * len(values)
    return RewardLists(
        logprobs=torch.tensor(values, dtype=torch.float64, requires_grad=True),
        lengths=torch.arange(1, count + 1),
        scores=torch.tensor(scores),
        targets=torch.zeros(count, dtype=torch.bool),
        groups=torch.tensor(owner),
        weights=torch.ones(max(owner) + 1),
    )


def test_worked_values() -> None:
    # Gaps of 1, 3 and 2 between rewards 2, 1 and -1 in their right order; lengths play no part.
    wanted = sum(math.log(1 + math.exp(-gap)) for gap in (1, 3, 2)) / 3
    assert Pairwise()(rewards([1, 2, -1], [0.5, 0.9, 0.1]))["rank"].sum.item() == pytest.approx(wanted, abs=1e-9)
    # A tie between the first two leaves two pairs.
    wanted = sum(math.log(1 + math.exp(-gap)) for gap in (3, 2)) / 2
    assert Pairwise()(rewards([2, 1, -1], [1, 1, 0]))["rank"].sum.item() == pytest.approx(wanted, abs=1e-9)
    assert Pairwise()(rewards([2, 1], [1, 1]))["rank"].sum.item() == 0


def test_each_list_counts_once_however_many_pairs_it_has() -> None:
    lists = rewards([0, 0, 0, 0, 0, 3], [3, 2, 1, 0, 1, 0], [0, 0, 0, 0, 1, 1])
    wanted = (math.log(2) + math.log(1 + math.exp(3))) / 2
    assert total(Pairwise()(lists), lists).item() == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("seed", range(10))
def test_equals_the_naive_loop(seed: int) -> None:
    lists = random_lists(seed, weights=seed % 2 == 1)
    expected = sum(pairwise(v, s) * w for (v, s), w in zip(split(lists), lists.weights.tolist(), strict=True))
    assert Pairwise()(lists)["rank"].sum.item() == pytest.approx(expected, abs=1e-9)


def test_gradient_against_finite_differences() -> None:
    lists = random_lists(3)

    def loss(logprobs: torch.Tensor) -> torch.Tensor:
        return Pairwise()(replace(lists, logprobs=logprobs))["rank"].sum

    assert torch.autograd.gradcheck(loss, (lists.logprobs,))


def test_the_order_of_candidates_changes_nothing() -> None:
    lists = random_lists(5)
    order = torch.argsort(lists.groups * 100 + torch.randperm(len(lists.groups)) % 100)
    assert total(Pairwise()(select(lists, order)), lists).item() == pytest.approx(
        total(Pairwise()(lists), lists).item(), abs=1e-12
    )


def test_far_apart_rewards_stay_finite() -> None:
    lists = rewards([-1e4, 1e4], [1, 0])
    loss = Pairwise()(lists)["rank"].sum
    loss.backward()
    assert loss.item() == pytest.approx(2e4) and lists.logprobs.grad is not None
    assert lists.logprobs.grad.tolist() == [-1.0, 1.0]


def test_of_a_language_model_it_orders_mean_log_probabilities() -> None:
    lists = ScoredLists(
        logprobs=torch.tensor([-2.0, -9.0]), lengths=torch.tensor([2, 3]), scores=torch.tensor([1.0, 0.0]),
        targets=torch.zeros(2, dtype=torch.bool), groups=torch.zeros(2, dtype=torch.long), weights=torch.ones(1),
    )  # fmt: skip
    assert Pairwise()(lists)["rank"].sum.item() == pytest.approx(math.log(1 + math.exp(-2)), abs=1e-6)
