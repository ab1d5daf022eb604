"""Adds up what is logged: sums and counts, over micro-batches and processes, so that means are never means of means."""

from itertools import chain
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from tuna.data.batch import PackedBatch
from tuna.losses.base import ScoredLists, Term, local_totals

T = TypeVar("T")


class Meter:
    """Named sums and counts; where an interval is wanted, one value or row a list.

    last_lists, last_rows: those values and rows over all processes, by name, as of the last ``reduce``.
    """

    def __init__(self) -> None:
        self.last_lists: dict[str, list[float]] = {}
        self.last_rows: dict[str, list[list[float]]] = {}
        self.reset()

    def reset(self) -> None:
        """Start anew."""
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, float] = {}
        self.tokens = {"real": 0, "padded": 0, "response": 0}
        self.per_list: dict[str, list[float]] = {}
        self.rows: dict[str, list[list[float]]] = {}
        self.mark()

    def mark(self) -> None:
        """Remember what there is, for ``rollback``."""
        lists = {name: len(values) for name, values in self.per_list.items()}
        rows = {name: len(values) for name, values in self.rows.items()}
        self._marked = (dict(self.sums), dict(self.counts), lists, rows)

    def rollback(self) -> None:
        """Forget what came after the last ``mark``, but for the tokens, which were computed."""
        sums, counts, lists, rows = self._marked
        self.sums, self.counts = dict(sums), dict(counts)
        self.per_list = {name: self.per_list[name][:size] for name, size in lists.items()}
        self.rows = {name: self.rows[name][:size] for name, size in rows.items()}

    def add(self, name: str, values: Tensor, weights: Tensor) -> None:
        """Add a weighted sum of per-list values; NaN values (nothing to measure in that list) are left out."""
        keep = ~torch.isnan(values) & (weights > 0)
        self._add(name, values[keep].double().sum(), float(keep.sum()))

    def keep(self, name: str, values: Tensor, weights: Tensor) -> None:
        """``add``, and keep each list's value."""
        self.add(name, values, weights)
        self.per_list.setdefault(name, []).extend(values[~torch.isnan(values) & (weights > 0)].tolist())

    def keep_rows(self, name: str, rows: Tensor, weights: Tensor) -> None:
        """Keep one row [G, n] a list, of lists with weight."""
        self.rows.setdefault(name, []).extend(rows[weights > 0].tolist())

    def add_terms(self, terms: dict[str, Term], lists: ScoredLists) -> None:
        """Add the parts of a loss, each over what it is divided by."""
        counts = local_totals(lists)
        for name, term in terms.items():
            self._add(f"loss_{name}", term.sum.detach().double(), getattr(counts, term.per))

    def add_tokens(self, batch: PackedBatch) -> None:
        """Add the batch's tokens, for throughput and packing waste."""
        self.tokens["real"] += batch.real_tokens
        self.tokens["padded"] += batch.input_ids.numel()
        self.tokens["response"] += int(batch.target_ids.numel())

    def _add(self, name: str, value: Tensor, count: float) -> None:
        self.sums[name] = self.sums[name] + value if name in self.sums else value
        self.counts[name] = self.counts.get(name, 0.0) + count

    def reduce(self, weights: dict[str, float]) -> dict[str, float]:
        """Means over everything added on every process since the last reset, ``loss`` first; then start anew.

        weights: coefficient of each loss part in the total, by part name. Nothing where nothing was added.
        """
        names = sorted(self.sums)
        if not names:
            return {}
        flat = [float(self.sums[name]) for name in names] + [self.counts[name] for name in names]
        flat = all_sum(flat)
        means = {name: s / c for name, s, c in zip(names, flat, flat[len(names) :], strict=False) if c > 0}
        parts = {name: means[f"loss_{name}"] for name in weights if f"loss_{name}" in means}
        result = {"loss": sum(weights[name] * value for name, value in parts.items())}
        self.last_lists, self.last_rows = all_lists(self.per_list), all_lists(self.rows)
        self.reset()
        return result | means

    def reduce_tokens(self) -> dict[str, int]:
        """Token counts over all processes since the last reset; call before ``reduce``."""
        values = all_sum([float(value) for value in self.tokens.values()])
        return {name: int(value) for name, value in zip(self.tokens, values, strict=True)}


def _device() -> str:
    return "cuda" if dist.get_backend() == "nccl" else "cpu"


def all_sum(values: list[float]) -> list[float]:
    """Element-wise sum over processes; the values themselves where there is one process."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1) or not values:
        return values
    tensor = torch.tensor(values, dtype=torch.float64, device=_device())
    dist.all_reduce(tensor)
    return [float(value) for value in tensor.tolist()]


def all_lists(values: dict[str, list[T]]) -> dict[str, list[T]]:
    """The lists of all processes by name, one after the other."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return values
    gathered: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, values)
    return {
        name: [value for part in gathered for value in part.get(name, [])] for name in dict.fromkeys(chain(*gathered))
    }
