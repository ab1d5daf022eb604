"""What every loss takes and gives. Losses know no model, trainer or config; of the data, only the counts of a step."""

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from tuna.data.batch import Totals

Denominator = Literal["groups", "targets", "candidate_tokens"]


@dataclass(frozen=True, slots=True)
class ScoredLists:
    """R responses of G groups with their summed log-probabilities (natural log) under the model that is tuned."""

    logprobs: Tensor  # [R] float32, differentiable
    lengths: Tensor  # [R] int64, tokens
    scores: Tensor  # [R] float32, higher is better, NaN = not ranked
    targets: Tensor  # [R] bool, cross-entropy targets
    groups: Tensor  # [R] int64, group index 0..G-1
    weights: Tensor  # [G] float32, 1 for a real group, 0 for one that only fills the batch

    @property
    def values(self) -> Tensor:
        """[R] what orders the responses: v = (1/|r|) * log p(r | i), the mean log-probability a token (Eq. 4)."""
        return self.logprobs / self.lengths


class RewardLists(ScoredLists):
    """The same from a reward model: ``logprobs`` holds the rewards, which order the responses as they are."""

    __slots__ = ()

    @property
    def values(self) -> Tensor:
        """[R] the rewards."""
        return self.logprobs


@dataclass(frozen=True, slots=True)
class Term:
    """One part of a loss: a sum, the coefficient it has in the total, and the global count that it is divided by."""

    sum: Tensor
    coefficient: float
    per: Denominator


class Loss(Protocol):
    """A loss gives named terms; total = sum over terms of coefficient * sum / global count."""

    def __call__(self, lists: ScoredLists) -> dict[str, Term]:
        """The named terms for these lists."""
        ...


def local_totals(lists: ScoredLists) -> Totals:
    """The counts of these lists alone: what the sums are divided by when nothing is accumulated or sharded."""
    weight = lists.weights[lists.groups]
    return Totals(
        groups=float(lists.weights.sum()),
        targets=float((weight * lists.targets).sum()),
        candidate_tokens=float((weight * ~torch.isnan(lists.scores) * lists.lengths).sum()),
    )


def total(terms: dict[str, Term], lists: ScoredLists, totals: Totals | None = None) -> Tensor:
    """sum over terms of coefficient * sum / global count; the counts of ``lists`` alone where no totals are given.

    A term whose global count is 0 adds nothing (there is nothing that it was summed over).
    """
    counts = totals or local_totals(lists)
    parts = [term.coefficient * term.sum / max(getattr(counts, term.per), 1.0) for term in terms.values()]
    return torch.stack(parts).sum()
