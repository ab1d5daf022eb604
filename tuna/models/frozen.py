"""Frozen weights in bfloat16 under adapters in float32: half of the memory, and layers compute as they did.

Only what is large is halved: linear layers and embeddings. Each is cast to the type of what it reads when it is used,
and only the bfloat16 weight is kept for the backward pass. So a run on weights that the file holds in bfloat16 gives
the numbers of a run in float32, and other weights are rounded once, to 8 bits, when they are read.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from transformers.pytorch_utils import Conv1D


class _Cast(torch.autograd.Function):
    """x W^T + b in the type of x; the gradient is that of x alone."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None, flipped: bool) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.flipped = flipped
        whole = weight.to(states.dtype)
        return functional.linear(states, whole.T if flipped else whole, None if bias is None else bias.to(states.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        whole = ctx.saved_tensors[0].to(grad.dtype)
        return grad @ (whole.T if ctx.flipped else whole), None, None, None


def _as_it_is(module: nn.Module, states: Tensor) -> bool:
    """Whether the layer's own forward pass computes in the right type."""
    return states.dtype == module.weight.dtype or torch.is_autocast_enabled(states.device.type)


class HalfLinear(nn.Linear):
    """A frozen linear layer whose weight has another type than what it reads."""

    def forward(self, input: Tensor) -> Tensor:
        """In the type of the input."""
        if _as_it_is(self, input):
            return super().forward(input)
        return _Cast.apply(input, self.weight, self.bias, False)  # type: ignore[no-any-return, no-untyped-call]


class HalfConv1D(Conv1D):
    """The same of GPT-2's, whose weight is [in, out]."""

    def forward(self, x: Tensor) -> Tensor:
        """In the type of the input."""
        if _as_it_is(self, x):
            return super().forward(x)  # type: ignore[no-any-return, no-untyped-call]
        return _Cast.apply(x, self.weight, self.bias, True)  # type: ignore[no-any-return, no-untyped-call]


class HalfEmbedding(nn.Embedding):
    """A frozen embedding; its rows are ``computes`` before anything (a scale, as Gemma's) is done with them."""

    computes: torch.dtype

    def forward(self, input: Tensor) -> Tensor:
        """Rows in ``computes``, and what the class makes of them."""
        rows = functional.embedding(input.flatten(), self.weight).to(self.computes)
        places = torch.arange(input.numel(), device=input.device).view(input.shape)
        padding, self.padding_idx = self.padding_idx, None
        self.__dict__["weight"] = rows  # found before the parameter
        try:
            return super().forward(places)
        finally:
            del self.__dict__["weight"]
            self.padding_idx = padding


def halve(model: Any) -> int:
    """Turn the frozen weights of linear layers and embeddings to bfloat16 in place; how many numbers that are.

    What stays float32: what trains, norms and biases, and weights of other modules (experts that are stacked in one).
    Tied weights stay tied, and weights on the meta device there.
    """
    entrance = plain(model.get_input_embeddings())
    owners: dict[int, list[tuple[Any, type[nn.Module] | None]]] = {}
    for module in model.modules():
        weight = module._parameters.get("weight")
        if weight is not None and not weight.requires_grad and weight.dtype == torch.float32:
            owners.setdefault(id(weight), []).append((module, _half(module, is_input=module is entrance)))
    halved = 0
    for modules in owners.values():
        if any(kind is None for _, kind in modules):
            continue
        made = nn.Parameter(modules[0][0].weight.detach().to(torch.bfloat16), requires_grad=False)
        halved += made.numel()
        for module, kind in modules:
            module.weight, module.__class__ = made, kind
            if isinstance(module, nn.Embedding):
                module.computes = torch.float32  # type: ignore[assignment]
    return halved


def _half(module: nn.Module, *, is_input: bool) -> type[nn.Module] | None:
    if type(module) is nn.Linear:
        return HalfLinear
    if type(module) is Conv1D:
        return HalfConv1D
    if type(module) is nn.Embedding:
        return HalfEmbedding
    if is_input and isinstance(module, nn.Embedding) and type(module).forward is not nn.Embedding.forward:
        return type(type(module).__name__, (HalfEmbedding, type(module)), {})
    return None


def plain(module: Any) -> Any:
    """The module under peft's wrapper."""
    return getattr(module, "base_layer", module)


def compute_dtype(model: Any) -> torch.dtype:
    """What the model's layers compute in without autocast."""
    embedding = plain(model.get_input_embeddings())
    dtype: torch.dtype = getattr(embedding, "computes", embedding.weight.dtype)
    return dtype


def compute_in(model: Any, dtype: torch.dtype) -> None:
    """What halved embeddings give from now on."""
    for module in model.modules():
        if isinstance(module, HalfEmbedding):
            module.computes = dtype
