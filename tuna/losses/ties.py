"""What DPO's two extensions to ties share: a cost of each pair that is won, and of each pair that is tied."""

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from tuna.config.types import checked
from tuna.losses.base import ScoredLists, as_lists, better_pairs
from tuna.losses.ranking import Referenced


@checked
@dataclass(kw_only=True)
class Tied(Referenced):
    """C = mean over a list's pairs of -log P(what the scores say of them): j better than k, or a tie."""

    @abstractmethod
    def costs(self, gap: Tensor) -> tuple[Tensor, Tensor]:
        """-log P(j better than k) and -log P(tie) for s_j - s_k = gap."""

    def per_list(self, lists: ScoredLists) -> Tensor:
        """C, [G]; 0 for a list of one."""
        ranked = as_lists(lists, self.rewards(lists))
        present = ranked.present[:, :, None] & ranked.present[:, None, :]
        won, tied = better_pairs(ranked), present & (ranked.scores[:, :, None] == ranked.scores[:, None, :])
        tied = tied.triu(1)  # each pair once
        # Absent candidates have scores of -inf, and a gap of 0 at the padding keeps the gradient finite.
        of_win, of_tie = self.costs(ranked.v[:, :, None] - ranked.v[:, None, :])
        total = torch.where(won, of_win, 0.0) + torch.where(tied, of_tie, 0.0)
        return total.sum((1, 2)) / (won | tied).sum((1, 2)).clamp(min=1)
