"""tuna.losses.lmops: the released code's loss against its worked value and a naive loop."""

from dataclasses import replace

import pytest
import torch

from tests.losses.make import NAN, random_lists, split
from tests.losses.naive import lmops_rank
from tuna.losses.base import ScoredLists, total
from tuna.losses.lmops import LMOps


def test_worked_value_at_equal_v() -> None:
    lists = ScoredLists(
        logprobs=torch.full((4,), -4.0),
        lengths=torch.full((4,), 2),
        scores=torch.tensor([4.0, 3.0, 2.0, 1.0]),
        targets=torch.zeros(4, dtype=torch.bool),
        groups=torch.zeros(4, dtype=torch.long),
        weights=torch.ones(1),
    )
    assert LMOps(margin=0.1)(lists)["rank"].sum.item() == pytest.approx(0.6, abs=1e-6)  # 0.1 + 0.2 + 0.3, NOTES.md


def test_cross_entropy_runs_over_every_candidate_token() -> None:
    # Candidates of 2 and 3 tokens; the unranked original (logprob -100) takes no part: (2 + 9) / 5 tokens.
    lists = ScoredLists(
        logprobs=torch.tensor([-2.0, -9.0, -100.0]),
        lengths=torch.tensor([2, 3, 7]),
        scores=torch.tensor([1.0, 0.0, NAN]),
        targets=torch.tensor([False, False, True]),
        groups=torch.zeros(3, dtype=torch.long),
        weights=torch.ones(1),
    )
    # v = (-1, -3): the better one leads by 2, so the hinge is at rest.
    assert total(LMOps(lambda_=1.0)(lists), lists).item() == pytest.approx(11 / 5)


@pytest.mark.parametrize("seed", range(20))
def test_equals_the_naive_loop(seed: int) -> None:
    lists = random_lists(seed, weights=seed % 2 == 0)
    expected = sum(lmops_rank(v, s, 0.2) * w for (v, s), w in zip(split(lists), lists.weights.tolist(), strict=True))
    assert LMOps(margin=0.2)(lists)["rank"].sum.item() == pytest.approx(expected, abs=1e-9)


def test_gradient() -> None:
    lists = random_lists(8, groups=3)

    def loss(logprobs: torch.Tensor) -> torch.Tensor:
        moved = replace(lists, logprobs=logprobs)
        return total(LMOps(lambda_=0.3, margin=0.2)(moved), moved)

    assert torch.autograd.gradcheck(loss, (lists.logprobs,))
