"""Plackett-Luce on implicit rewards: DPO for whole orders."""

from dataclasses import dataclass

from torch import Tensor

from tuna.config.types import checked
from tuna.losses.base import ScoredLists, as_lists
from tuna.losses.plackett_luce import order_cost
from tuna.losses.ranking import Referenced


@checked
@dataclass(kw_only=True)
class PLDPO(Referenced):
    """C = sum over candidates j of -log(exp s_j / (exp s_j + sum over k worse than j of exp s_k)), s = beta log(p /
    p_ref).

    Rafailov et al., arXiv 2305.18290, Appendix A.3, Eq. 20; "list-mle" in LiPO. Ties as in loss=plackett_luce. With two
    candidates it is DPO. Settings: beta 0.1.
    """

    def per_list(self, lists: ScoredLists) -> Tensor:
        """C, [G]."""
        return order_cost(as_lists(lists, self.rewards(lists)))
