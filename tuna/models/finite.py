"""Weights and values that are no numbers: found before anything is made of them, and named."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from tuna.errors import ModelError

_KINDS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def not_finite(named: Iterable[tuple[str, Tensor]]) -> list[str]:
    """Names of the tensors that hold NaN or infinity. Of sharded ones every process calls it and gets the same names.

    >>> not_finite([("a", torch.tensor([1.0, torch.inf])), ("b", torch.ones(2))])
    ['a']
    """
    names, flags, sharded = [], [], False
    for name, tensor in named:
        local: Any = getattr(tensor, "to_local", None)
        sharded = sharded or local is not None
        part = tensor.detach() if local is None else local().detach()
        if part.dtype in _KINDS:
            names.append(name)
            ends = torch.stack(torch.aminmax(part)) if part.numel() else part.new_zeros(1)
            flags.append(ends.isfinite().all())
    if not names:
        return []
    bad = torch.stack(flags).logical_not().float()
    if sharded:
        dist.all_reduce(bad)
    return [name for name, flag in zip(names, bad.tolist(), strict=True) if flag]


def check_finite(model: nn.Module, source: str) -> None:
    """Refuse a model with weights that are no numbers.

    Raises:
        ModelError: names the first tensor.
    """
    if bad := not_finite(model.named_parameters()):
        more = f" and {len(bad) - 1} more tensors" if len(bad) > 1 else ""
        raise ModelError(
            f"{source}: the weights hold NaN or infinity ({bad[0]}{more}), so nothing can be computed with them; "
            "choose another model, or fetch or make this one again"
        )


def check_values(values: Sequence[float], source: str, what: str) -> None:
    """Refuse numbers that a model computed and that are none.

    Raises:
        ModelError: says of which model, and what they are.
    """
    bad = [value for value in values if value - value != 0]  # NaN and infinity alone
    if bad:
        raise ModelError(
            f"{source}: expected finite {what}, got {bad[0]} ({len(bad)} of {len(values)} in this batch); its weights "
            "are finite, so its numbers overflow: choose dtype=float32 where there is that key, or another model"
        )
