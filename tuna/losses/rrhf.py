"""RRHF: a hinge without margin over all pairs, and cross-entropy on the best response."""

from dataclasses import dataclass

from torch import Tensor

from tuna.config.types import checked
from tuna.losses.base import ScoredLists, as_lists
from tuna.losses.ranking import OnBest
from tuna.losses.tuna import margin_cost


@checked
@dataclass(kw_only=True)
class RRHF(OnBest):
    """C = sum over pairs j better than k of max(0, v_k - v_j), + alpha * L_best, v = (1/|r|) log p(r | i).

    Yuan et al., arXiv 2304.05302, Eqs. 2 to 4. Settings: alpha 1, learning rate 2e-5. The paper's cross-entropy is a
    sum over tokens; here, as in the authors' code, it is a mean.
    """

    def per_list(self, lists: ScoredLists) -> Tensor:
        """C, [G]."""
        ranked = as_lists(lists, lists.logprobs / lists.lengths)
        return margin_cost(ranked, 0.0)
