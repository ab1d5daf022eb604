"""What every loss takes and gives. Losses know no model, trainer or config."""

from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

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


@dataclass(frozen=True, slots=True)
class Term:
    """One part of a loss: a sum, the coefficient it has in the total, and the global count that it is divided by."""

    sum: Tensor
    coefficient: float
    per: Denominator


class Loss(Protocol):
    """A loss gives named terms; total = sum over terms of coefficient * sum / global count."""

    def __call__(self, lists: ScoredLists) -> dict[str, Term]: ...
