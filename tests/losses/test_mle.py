"""tuna.losses.mle: Eq. 2 is a mean over a response's tokens, then over responses."""

import pytest
import torch

from tuna.losses.base import ScoredLists, total
from tuna.losses.mle import MLE


def test_mean_over_tokens_then_over_responses() -> None:
    # Two targets: 8 nats over 4 tokens = 2, 3 nats over 1 token = 3, mean 2.5 (over all tokens it would be 2.2).
    lists = ScoredLists(
        logprobs=torch.tensor([-8.0, -3.0, -50.0]),
        lengths=torch.tensor([4, 1, 2]),
        scores=torch.full((3,), float("nan")),
        targets=torch.tensor([True, True, False]),
        groups=torch.tensor([0, 1, 1]),
        weights=torch.ones(2),
    )
    assert total(MLE()(lists), lists).item() == pytest.approx(2.5)


def test_no_targets_is_zero_not_nan() -> None:
    lists = ScoredLists(
        logprobs=torch.tensor([-8.0]),
        lengths=torch.tensor([4]),
        scores=torch.tensor([1.0]),
        targets=torch.tensor([False]),
        groups=torch.tensor([0]),
        weights=torch.zeros(1),
    )
    assert total(MLE()(lists), lists).item() == 0.0
