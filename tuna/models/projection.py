"""From hidden states to the log-probabilities of their target tokens, chunk by chunk. See docs/scorer.md."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

Head = Callable[[Tensor], Tensor]  # [n, H] -> logits [n, V], each row by itself


def target_logprobs(head: Head, hidden: Tensor, targets: Tensor, chunk: int, *, memory: float = float("inf")) -> Tensor:
    """[T] float32, the log-probability of each target token [T] int64, which the hidden states [T, H] predict.

    head: the model's projection, ``chunk`` rows at a time; its logits must be a tensor of their own. The gradient

        d log p(y) / d logits = onehot(y) - softmax(logits)

    is made in the forward pass, in the logits' own place. The loss's gradient scales it row by row, so a head in which
    nothing is trained needs no more than its product with the head, [T, H]. One that is trained keeps it for the
    backward pass, up to ``memory`` bytes; the chunks beyond are projected anew there. No second derivatives.

    >>> weight = torch.eye(3)
    >>> target_logprobs(lambda h: h @ weight.T, torch.zeros(2, 3), torch.tensor([0, 2]), chunk=1)
    tensor([-1.0986, -1.0986])
    """
    pieces: list[Tensor] = []
    differentiable = torch.is_grad_enabled() and len(hidden) > 0
    trained = differentiable and head(hidden[:1].detach()).requires_grad
    for states, wanted in zip(torch.split(hidden, chunk), torch.split(targets, chunk), strict=True):
        if not differentiable:
            pieces.append(_logprobs_(head(states), wanted, gradient=False)[0])
        elif not trained:
            pieces.append(_Made.apply(states, wanted, head))  # type: ignore[no-untyped-call]
        elif memory > 0:
            logits = head(states)
            memory -= logits.nbytes
            pieces.append(_Kept.apply(logits, wanted))  # type: ignore[no-untyped-call]
        else:
            pieces.append(checkpoint(lambda s, w: _Kept.apply(head(s), w), states, wanted, use_reentrant=False))  # type: ignore[no-untyped-call]
    return torch.cat(pieces)


def _logprobs_(logits: Tensor, targets: Tensor, *, gradient: bool) -> tuple[Tensor, Tensor]:
    """The targets' log-probabilities [n], and the logits [n, V] overwritten, by their gradient if asked."""
    values = logits if logits.dtype == torch.float64 else logits.float()  # float32 is not copied
    chosen = values.gather(-1, targets[:, None])
    highest = values.amax(-1, keepdim=True)
    total = values.sub_(highest).exp_().sum(-1, keepdim=True)
    if gradient:
        values.div_(-total).scatter_add_(-1, targets[:, None], torch.ones_like(total))
    return (chosen - highest - total.log()).squeeze(-1), values


def _scaled(ctx: Any, grad: Tensor) -> Tensor:
    """The saved gradient, its rows scaled by ``grad`` [n]."""
    if torch.is_grad_enabled():  # create_graph: what was saved would pass for a constant
        raise RuntimeError("target_logprobs has no second derivatives")
    gradient: Tensor = ctx.saved_tensors[0]
    return (gradient * grad[:, None]).to(gradient.dtype)


class _Kept(torch.autograd.Function):
    """Logits [n, V] in, log-probabilities [n] out; the logits' gradient stays until the backward pass."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        logprobs, gradient = _logprobs_(logits.detach(), targets, gradient=True)
        ctx.save_for_backward(gradient.to(logits.dtype))
        return logprobs

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _scaled(ctx, grad), None


class _Made(torch.autograd.Function):
    """Hidden states [n, H] in, log-probabilities [n] out, under a frozen head; the states' gradient [n, H] stays."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, targets: Tensor, head: Head) -> Tensor:
        with torch.enable_grad():
            inner = states.detach().requires_grad_()
            logits = head(inner)
        logprobs, gradient = _logprobs_(logits.detach(), targets, gradient=True)
        ctx.save_for_backward(*torch.autograd.grad(logits, inner, gradient.to(logits.dtype)))
        return logprobs

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _scaled(ctx, grad), None, None
