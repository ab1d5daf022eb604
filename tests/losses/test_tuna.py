"""tuna.losses.tuna: the paper's loss against worked values, a naive loop and its own invariances."""

import math
from dataclasses import replace

import pytest
import torch

from tests.losses.make import NAN, random_lists, select, split
from tests.losses.naive import tuna_rank
from tuna.errors import ConfigError
from tuna.losses.base import ScoredLists, total
from tuna.losses.tuna import Tuna


def equal_v(scores: list[float]) -> ScoredLists:
    count = len(scores)
    return ScoredLists(
        logprobs=torch.full((count,), -4.0),
        lengths=torch.full((count,), 2),
        scores=torch.tensor(scores),
        targets=torch.zeros(count, dtype=torch.bool),
        groups=torch.zeros(count, dtype=torch.long),
        weights=torch.ones(1),
    )


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([4.0, 3.0, 2.0, 1.0], 1.0),  # 0.1 * (1 + 2 + 3 + 1 + 2 + 1), NOTES.md
        ([1.0, 4.0, 2.0, 3.0], 1.0),  # in any order
        ([3.0, 2.0, 2.0, 1.0], 0.6),  # ties give no pair, distances count distinct scores, DECISIONS.md
        ([2.0, 2.0, 2.0], 0.0),  # nothing to rank
        ([0.9, 0.1], 0.1),  # chosen and rejected
    ],
)
def test_worked_values_at_equal_v(scores: list[float], expected: float) -> None:
    lists = equal_v(scores)
    assert Tuna(margin=0.1)(lists)["rank"].sum.item() == pytest.approx(expected, abs=1e-6)


def test_worked_value_with_cross_entropy() -> None:
    # v = (-1, -3), the worse one leads by 2: hinge 2 + 0.1; the original has v = -2, so L = 2.1 + 5 * 2.
    lists = ScoredLists(
        logprobs=torch.tensor([-2.0, -9.0, -4.0]),
        lengths=torch.tensor([2, 3, 2]),
        scores=torch.tensor([0.0, 1.0, NAN]),
        targets=torch.tensor([False, False, True]),
        groups=torch.tensor([0, 0, 0]),
        weights=torch.ones(1),
    )
    assert total(Tuna(lambda_=5)(lists), lists).item() == pytest.approx(12.1, abs=1e-5)


@pytest.mark.parametrize("seed", range(20))
def test_equals_the_naive_loop(seed: int) -> None:
    lists = random_lists(seed, weights=seed % 2 == 1)
    expected = sum(tuna_rank(v, s, 0.3) * w for (v, s), w in zip(split(lists), lists.weights.tolist(), strict=True))
    assert Tuna(margin=0.3)(lists)["rank"].sum.item() == pytest.approx(expected, abs=1e-9)


def test_gradient() -> None:
    lists = random_lists(3, ties=True)

    def loss(logprobs: torch.Tensor) -> torch.Tensor:
        moved = replace(lists, logprobs=logprobs)
        return total(Tuna(lambda_=0.7, margin=0.2)(moved), moved)

    assert torch.autograd.gradcheck(loss, (lists.logprobs,))


@pytest.mark.parametrize("seed", range(5))
def test_order_of_candidates_does_not_matter(seed: int) -> None:
    lists = random_lists(seed)
    shuffled = torch.randperm(len(lists.groups), generator=torch.Generator().manual_seed(seed))
    order = shuffled[torch.sort(lists.groups[shuffled], stable=True).indices]  # groups stay together
    loss = Tuna()
    assert total(loss(select(lists, order)), lists).item() == pytest.approx(total(loss(lists), lists).item(), rel=1e-9)


def test_groups_without_weight_add_nothing() -> None:
    lists = random_lists(4, groups=2)
    first = select(lists, torch.nonzero(lists.groups == 0).flatten())
    alone = replace(first, weights=torch.ones(1))
    padded = replace(lists, weights=torch.tensor([1.0, 0.0]))
    loss = Tuna()
    assert total(loss(padded), padded).item() == pytest.approx(total(loss(alone), alone).item(), rel=1e-9)
    (gradient,) = torch.autograd.grad(total(loss(padded), padded), lists.logprobs)
    assert gradient[lists.groups == 1].abs().max() == 0


def test_accumulated_sums_equal_one_batch() -> None:
    lists = random_lists(5, groups=6)
    whole = total(Tuna()(lists), lists)
    from tuna.losses.base import local_totals

    totals = local_totals(lists)
    parts = torch.zeros((), dtype=torch.float64)
    for group in range(6):
        part = select(lists, torch.nonzero(lists.groups == group).flatten())
        part = replace(part, groups=torch.zeros_like(part.groups), weights=torch.ones(1))
        parts = parts + total(Tuna()(part), part, totals)
    assert parts.item() == pytest.approx(whole.item(), rel=1e-9)


def test_a_hinge_at_rest_has_no_gradient() -> None:
    lists = replace(equal_v([2.0, 1.0]), logprobs=torch.tensor([-2.0, -8.0], requires_grad=True))
    loss = total(Tuna(lambda_=0.0)(lists), lists)
    assert loss.item() == 0.0
    (gradient,) = torch.autograd.grad(loss, lists.logprobs)
    assert gradient.abs().max() == 0


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf, "x", True])
def test_bad_values_name_their_key(value: object) -> None:
    with pytest.raises(ConfigError, match=r"^margin: expected (a finite number of )?0 or more, got "):
        Tuna(margin=value)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"^lambda: expected (a finite number of )?0 or more, got "):
        Tuna(lambda_=value)  # type: ignore[arg-type]
