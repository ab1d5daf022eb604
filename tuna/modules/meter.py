"""Sums and counts over micro-batches and processes, so that no mean is a mean of means; whether steps are finite."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from tuna.data.batch import PackedBatch
from tuna.losses.base import ScoredLists, Term, local_counts


class Meter:
    """Named sums and counts; where an interval is wanted, a value or a row of values per list."""

    def __init__(self) -> None:
        self.last_lists: dict[str, list[Any]] = {}  # per_list over all processes, as of the last ``reduce``
        self.reset()

    def reset(self) -> None:
        """Start anew."""
        self.sums: dict[str, tuple[Tensor | float, Tensor | float]] = {}  # with their counts; read by ``reduce`` only
        self.tokens = [0, 0]  # real, with padding
        self.per_list: dict[str, list[tuple[Tensor, Tensor]]] = {}  # a batch's values, and which of them count
        self.coefficients: dict[str, float] = {}  # of the loss's parts
        self.mark()

    def mark(self) -> None:
        """Remember what there is, for ``rollback``."""
        self._marked = self.sums.copy(), {name: len(values) for name, values in self.per_list.items()}

    def rollback(self) -> None:
        """Forget what came after the last ``mark``, but for the tokens, which were computed."""
        self.sums, sizes = self._marked
        self.per_list = {name: self.per_list[name][:size] for name, size in sizes.items()}
        self.mark()

    def add(self, name: str, values: Tensor, weights: Tensor) -> None:
        """Add a weighted sum of per-list values; NaN values (nothing to measure in that list) are left out."""
        keep = ~torch.isnan(values) & (weights > 0)
        self._add(name, torch.where(keep, values, 0.0).double().sum(), keep.sum())

    def keep(self, name: str, values: Tensor, weights: Tensor) -> None:
        """``add`` values [G], and keep each; rows [G, n], which have no mean, are only kept. NaN is left out."""
        if values.dim() == 1:
            self.add(name, values, weights)
        chosen = ~torch.isnan(values.view(len(values), -1)).any(1) & (weights > 0)
        self.per_list.setdefault(name, []).append((values, chosen))

    def add_terms(self, terms: dict[str, Term], lists: ScoredLists) -> None:
        """Add the parts of a loss, each over what it is divided by."""
        counts = local_counts(lists)
        for name, term in terms.items():
            self.coefficients[f"loss_{name}"] = term.coefficient
            self._add(f"loss_{name}", term.sum.detach().double(), counts[term.per])

    def add_tokens(self, batch: PackedBatch) -> None:
        """Add the batch's tokens, for throughput and packing waste."""
        self.tokens[0] += batch.real_tokens
        self.tokens[1] += batch.input_ids.numel()

    def _add(self, name: str, value: Tensor, count: Tensor) -> None:
        before, counted = self.sums.get(name, (0.0, 0.0))
        self.sums[name] = before + value, counted + count

    def reduce(self) -> dict[str, float]:
        """Means over everything added on every process since the last reset, ``loss`` first, the sum of the loss's
        parts with their coefficients; then start anew. Returns {} where nothing was added.
        """
        names = sorted(self.sums)
        if not names:
            return {}
        totals = all_sum([[float(value) for value in self.sums[name]] for name in names])
        means = {name: value / count for name, (value, count) in zip(names, totals, strict=True) if count > 0}
        result = {"loss": sum(weight * means[name] for name, weight in self.coefficients.items() if name in means)}
        self.last_lists = _all_lists({name: _chosen(kept) for name, kept in self.per_list.items()})
        self.reset()
        return result | means

    def reduce_tokens(self) -> list[float]:
        """Tokens, without padding and with it, over all processes since the last reset; call before ``reduce``."""
        return all_sum([self.tokens])[0]


def all_sum(values: Sequence[Sequence[float]]) -> list[list[float]]:
    """Element-wise sum of rows of equal length over processes."""
    on_gpu = dist.is_initialized() and dist.get_backend() == "nccl"
    tensor = torch.tensor(values, dtype=torch.float64, device="cuda" if on_gpu else "cpu")
    if dist.is_initialized():
        dist.all_reduce(tensor)
    return tensor.tolist()


def _chosen(kept: Sequence[tuple[Tensor, Tensor]]) -> list[Any]:
    return [value for values, chosen in kept for value in values[chosen].tolist()]


def _all_lists(values: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """The lists of all processes by name, one after the other."""
    gathered: list[Any] = [values]
    if dist.is_initialized():
        gathered = [None] * dist.get_world_size()
        dist.all_gather_object(gathered, values)
    names = dict.fromkeys(chain(*gathered))
    return {name: [value for part in gathered for value in part.get(name, [])] for name in names}


@dataclass(frozen=True, slots=True)
class Fault:
    """A loss or a gradient norm that is not finite, the same on every process.

    >>> str(Fault(0.5, math.inf, ())), str(Fault(math.nan, math.nan, ()))
    ('the gradient norm is inf', 'the loss is nan')
    """

    loss: float
    grad_norm: float
    groups: tuple[tuple[int, int], ...]  # this process's that are not finite: (micro-step, group of its batch)

    def __str__(self) -> str:
        return f"the gradient norm is {self.grad_norm}" if math.isfinite(self.loss) else f"the loss is {self.loss}"


@dataclass(slots=True)
class Watch:
    """What a step's micro-batches gave, kept on the device and unread until the step is complete."""

    losses: list[Tensor] = field(default_factory=list)  # scalars
    lists: list[tuple[Tensor, Tensor]] = field(default_factory=list)  # log-probabilities [R], groups [R]

    def add(self, lists: ScoredLists, loss: Tensor | None = None) -> None:
        """Note a micro-batch."""
        self.lists.append((lists.logprobs.detach(), lists.groups))
        if loss is not None:
            self.losses.append(loss.detach())

    def fault(self, grad_norm: Tensor) -> tuple[float, Fault | None]:
        """The norm as a number, and what is not finite, or None; then start anew. Every process has to call it."""
        loss = torch.stack(self.losses).sum() if self.losses else torch.zeros_like(grad_norm)
        norm, local = torch.stack([grad_norm.double(), loss.double()]).tolist()
        ((total,),) = all_sum([[local]])
        sound = math.isfinite(norm) and math.isfinite(total)
        found = None if sound else Fault(total, norm, self.groups())
        self.clear()
        return norm, found

    def groups(self) -> tuple[tuple[int, int], ...]:
        """See Fault.groups."""
        return tuple(
            (micro, group)
            for micro, (logprobs, groups) in enumerate(self.lists)
            for group in groups[~logprobs.isfinite()].unique().tolist()
        )

    def clear(self) -> None:
        """Forget the step."""
        self.losses.clear()
        self.lists.clear()
