"""Log-probabilities of given tokens from hidden states, in chunks, without keeping vocabulary-sized tensors."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


class _TargetLogprobs(torch.autograd.Function):
    """log softmax(logits)[target] a row, in float32; the backward pass makes one vocabulary-sized tensor, not three."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> Tensor:
        values = logits.float()
        normalizer = values.logsumexp(-1)
        ctx.save_for_backward(logits, normalizer, targets)
        return values.gather(-1, targets[:, None]).squeeze(-1) - normalizer

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        logits, normalizer, targets = ctx.saved_tensors
        # d log p(target) / d logits = onehot(target) - softmax(logits)
        result = torch.sub(logits, normalizer[:, None]).exp_().mul_(-grad[:, None])
        result.scatter_add_(-1, targets[:, None], grad[:, None].to(result.dtype))
        return result.to(logits.dtype), None


def target_logprobs(head: Callable[[Tensor], Tensor], hidden: Tensor, targets: Tensor, chunk: int) -> Tensor:
    """Log-probability of each target token, projecting ``chunk`` hidden states at a time.

    With gradients on, each chunk's logits are dropped after use and recomputed in the backward pass, so memory holds
    one chunk x vocabulary whatever T is.

    Args:
        head: the model's projection, [n, H] -> logits [n, V].
        hidden: [T, H] hidden states, each of which predicts one target.
        targets: [T] int64.
        chunk: how many targets are projected at a time, at least 1.

    Returns:
        [T] float32.

    >>> weight = torch.eye(3)
    >>> target_logprobs(lambda h: h @ weight.T, torch.zeros(2, 3), torch.tensor([0, 2]), chunk=1)
    tensor([-1.0986, -1.0986])
    """

    def part(states: Tensor, wanted: Tensor) -> Tensor:
        logprobs: Tensor = _TargetLogprobs.apply(head(states), wanted)  # type: ignore[no-untyped-call]
        return logprobs

    pieces = []
    for states, wanted in zip(torch.split(hidden, chunk), torch.split(targets, chunk), strict=True):
        if torch.is_grad_enabled():
            pieces.append(checkpoint(part, states, wanted, use_reentrant=False, preserve_rng_state=False))
        else:
            pieces.append(part(states, wanted))
    return torch.cat(pieces)
