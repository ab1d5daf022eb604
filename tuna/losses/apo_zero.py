"""Anchored preference optimization, "zero": the better response goes up and the worse goes down, each by itself."""

from dataclasses import dataclass

from torch import Tensor

from tuna.config.types import checked
from tuna.losses.base import ScoredLists, as_lists
from tuna.losses.ranking import Referenced, Which, over_pairs


@checked
@dataclass(kw_only=True)
class APOZero(Referenced):
    """C = mean over pairs j better than k of 1 - sigmoid(s_j) + sigmoid(s_k), s = beta * log(p / p_ref).

    D'Oosterlinck et al., arXiv 2408.06266, Eq. 7. Settings: beta 0.1, learning rate 2e-7.
    """

    pairs: Which = "all"  # of a list: all, its best candidates with the rest, or best and worst (extremes)

    def per_list(self, lists: ScoredLists) -> Tensor:
        """C, [G]."""
        ranked = as_lists(lists, self.rewards(lists))
        return over_pairs(ranked, self.pairs, lambda better, worse: (-better).sigmoid() + worse.sigmoid())
