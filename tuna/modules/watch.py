"""Whether an optimizer step is sound: a finite loss and a finite gradient. Read once a step, with the gradient norm."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tuna.losses.base import ScoredLists
from tuna.modules.meter import all_sum


@dataclass(frozen=True, slots=True)
class Fault:
    """A loss or a gradient norm that is not finite, the same on every process.

    groups: (micro-step, group of its batch) of this process's groups whose log-probabilities are not finite.
    """

    loss: float
    grad_norm: float
    groups: tuple[tuple[int, int], ...]

    def __str__(self) -> str:
        """In words.

        >>> str(Fault(0.5, math.inf, ())), str(Fault(math.nan, math.nan, ()))
        ('the gradient norm is inf', 'the loss is nan')
        """
        if math.isfinite(self.loss):
            return f"the gradient norm is {self.grad_norm}"
        return f"the loss is {self.loss}"


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
        """The norm as a number, and what is wrong with the step; then start anew. Every process has to call it."""
        loss = torch.stack(self.losses).sum() if self.losses else torch.zeros_like(grad_norm)
        norm, local = torch.stack([grad_norm.double(), loss.double()]).tolist()
        total = all_sum([local])[0]
        found = None
        if not (math.isfinite(norm) and math.isfinite(total)):
            found = Fault(total, norm, self.groups())
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
