"""Chunked log-probabilities: value, gradient and memory."""

import torch
from torch import Tensor

from tuna.models.projection import target_logprobs


def test_value_and_gradient_are_those_of_log_softmax() -> None:
    torch.manual_seed(0)
    weight = torch.randn(11, 5, dtype=torch.float64, requires_grad=True)
    hidden = torch.randn(9, 5, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(0, 11, (9,))
    scale = torch.randn(9, dtype=torch.float64)

    def head(states: Tensor) -> Tensor:
        return torch.tanh(states @ weight.T) * 3

    wanted = head(hidden).log_softmax(-1).gather(-1, targets[:, None])[:, 0]
    expected = torch.autograd.grad((wanted * scale).sum(), (weight, hidden))
    for chunk in (1, 2, 4, 9, 100):
        got = target_logprobs(head, hidden, targets, chunk)
        gradients = torch.autograd.grad((got * scale).sum(), (weight, hidden))
        torch.testing.assert_close(got, wanted.float(), rtol=1e-5, atol=1e-6, check_dtype=False)
        for one, other in zip(gradients, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_no_vocabulary_sized_tensor_is_kept_for_the_backward_pass() -> None:
    hidden, targets = torch.randn(40, 4, requires_grad=True), torch.zeros(40, dtype=torch.long)
    weight = torch.randn(1000, 4, requires_grad=True)
    kept: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        target_logprobs(lambda states: states @ weight.T, hidden, targets, 8)
    assert sum(size for size in kept if size != weight.numel()) < 1000
