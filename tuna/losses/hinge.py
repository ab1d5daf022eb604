"""A hinge on implicit rewards: DPO's pairs with SLiC's cost."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tuna.config.types import checked
from tuna.losses.base import ScoredLists, as_lists
from tuna.losses.ranking import Referenced, Scale, Which, over_pairs


@checked
@dataclass(kw_only=True)
class Hinge(Referenced):
    """C = mean over pairs j better than k of max(0, 1 - (s_j - s_k)), s = beta * log(p / p_ref).

    Liu et al. (RSO), arXiv 2309.06657, Section 3.2, "hinge-norm". Settings: beta 0.05.
    """

    beta: Scale = 0.05
    pairs: Which = "all"  # of a list: all, its best candidates with the rest, or best and worst (extremes)

    def per_list(self, lists: ScoredLists) -> Tensor:
        """C, [G]."""
        ranked = as_lists(lists, self.rewards(lists))
        return over_pairs(ranked, self.pairs, lambda better, worse: torch.relu(1 - (better - worse)))
