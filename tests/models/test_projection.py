"""The projection: values and gradients are cross-entropy's; what it keeps; what it refuses."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, dropout

from tuna.models.projection import Head, target_logprobs

T, H, V = 9, 5, 11
HEADS: dict[str, Callable[[Tensor], Head]] = {
    "linear": lambda weight: lambda states: states @ weight.T,
    "soft-capped": lambda weight: lambda states: torch.tanh(states @ weight.T / 3) * 3,  # Gemma 2
    "scaled": lambda weight: lambda states: states @ weight.T * 0.25,  # Cohere, Granite; a temperature
    "with a view": lambda weight: lambda states: (states[None] @ weight.T)[0],  # as ResponseScorer calls it
}


def drawn(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    weight, hidden = torch.randn(V, H, generator=generator), torch.randn(T, H, generator=generator) * 3
    scale = torch.randn(T, generator=generator)
    return weight.to(dtype), hidden.to(dtype), torch.randint(0, V, (T,), generator=generator), scale.to(dtype)


@pytest.mark.parametrize("memory", [float("inf"), V * 4 * 8 + 1, 0], ids=["kept", "in part", "recomputed"])
@pytest.mark.parametrize("name", HEADS)
def test_value_and_gradients_are_those_of_cross_entropy(name: str, memory: float) -> None:
    weight, hidden, targets, scale = drawn()
    weight.requires_grad_(), hidden.requires_grad_()
    head = HEADS[name](weight)
    wanted = -cross_entropy(head(hidden), targets, reduction="none")
    expected = torch.autograd.grad((wanted * scale).sum(), (weight, hidden))
    for chunk in (1, 4, 9, 100):
        got = target_logprobs(head, hidden, targets, chunk, memory=memory)
        gradients = torch.autograd.grad((got * scale).sum(), (weight, hidden))
        torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(gradients, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", HEADS)
def test_under_a_frozen_head_only_the_hidden_states_have_a_gradient(name: str) -> None:
    weight, hidden, targets, scale = drawn()
    hidden.requires_grad_()
    head = HEADS[name](weight)
    wanted = -cross_entropy(head(hidden), targets, reduction="none")
    (expected,) = torch.autograd.grad((wanted * scale).sum(), hidden)
    got = target_logprobs(head, hidden, targets, 4)
    (gradient,) = torch.autograd.grad((got * scale).sum(), hidden)
    torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("memory", [float("inf"), 0])
@pytest.mark.parametrize("trained", [True, False])
def test_gradcheck(trained: bool, memory: float) -> None:
    weight, hidden, targets, _ = drawn()
    weight.requires_grad_(trained), hidden.requires_grad_()

    def logprobs(weight: Tensor, hidden: Tensor) -> Tensor:
        return target_logprobs(HEADS["soft-capped"](weight), hidden, targets, 4, memory=memory)

    assert torch.autograd.gradcheck(logprobs, (weight, hidden))


@pytest.mark.parametrize("trained", [True, False])
def test_a_second_derivative_is_refused(trained: bool) -> None:
    weight, hidden, targets, scale = drawn()
    weight.requires_grad_(trained), hidden.requires_grad_()
    got = target_logprobs(HEADS["linear"](weight), hidden, targets, 4)
    with pytest.raises(RuntimeError, match="no second derivatives"):
        torch.autograd.grad((got * scale).sum(), hidden, create_graph=True)


@pytest.mark.parametrize("trained", [True, False])
def test_in_bf16_the_softmax_is_float32(trained: bool) -> None:
    weight, hidden, targets, scale = drawn(torch.float32)
    weight.requires_grad_(trained), hidden.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        logits = (hidden @ weight.T).detach()
        got = target_logprobs(HEADS["linear"](weight), hidden, targets, 4)
    assert logits.dtype == torch.bfloat16 and got.dtype == torch.float32
    torch.testing.assert_close(got, -cross_entropy(logits.float(), targets, reduction="none"), rtol=1e-6, atol=1e-6)
    gradient = torch.autograd.grad((got * scale).sum(), hidden)[0]
    wanted = torch.autograd.functional.vjp(
        lambda states: -cross_entropy(states @ weight.detach().T, targets, reduction="none"), hidden.detach(), scale
    )[1]
    torch.testing.assert_close(gradient, wanted, rtol=0.05, atol=0.05)


def test_a_target_without_probability_is_finite_and_large_logits_do_not_overflow() -> None:
    logits = torch.tensor([[0.0, 300.0], [1e30, 0.0], [-3e38, 3e38]])
    hidden = torch.eye(3, requires_grad=True)
    got = target_logprobs(lambda states: states @ logits, hidden, torch.tensor([0, 0, 1]), 2)
    assert got.tolist() == [-300.0, 0.0, 0.0]
    assert target_logprobs(lambda states: states @ logits, hidden[:0], torch.zeros(0, dtype=torch.long), 2).shape == (
        0,
    )


def saved(run: Callable[[], object], weight: Tensor) -> int:
    """How many numbers are kept for the backward pass, those of the weight and of what is a leaf aside."""
    kept: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        known = tensor.requires_grad or tensor.untyped_storage().data_ptr() == weight.untyped_storage().data_ptr()
        kept.append(0 if known else tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return sum(kept)


def test_what_is_kept_for_the_backward_pass() -> None:
    hidden, targets = torch.randn(40, 4, requires_grad=True), torch.zeros(40, dtype=torch.long)
    weight = nn.Parameter(torch.randn(1000, 4))

    def run(**options: Any) -> Callable[[], object]:
        return lambda: target_logprobs(lambda states: states @ weight.T, hidden, targets, 8, **options)

    assert saved(run(), weight) == 40 * 1000 + 4  # and a row to see that the head is trained
    assert saved(run(memory=1.5 * 8 * 1000 * 4), weight) == 16 * 1000 + 24 + 4  # the targets of what is recomputed
    weight.requires_grad_(False)
    assert saved(run(), weight) == 40 * 4


def test_a_recomputed_head_with_dropout_draws_the_same_again() -> None:
    weight, hidden, targets, scale = drawn()
    weight.requires_grad_()

    def run(memory: float) -> tuple[Tensor, Tensor]:
        torch.manual_seed(1)
        got = target_logprobs(lambda s: dropout(s, 0.5) @ weight.T, hidden, targets, 4, memory=memory)
        return got, torch.autograd.grad((got * scale).sum(), weight)[0]

    torch.testing.assert_close(run(0), run(float("inf")), rtol=1e-12, atol=1e-12)
