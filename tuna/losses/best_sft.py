"""Cross-entropy on the best of each list: what best-of-N sampling and supervised tuning come to."""

from dataclasses import dataclass

from torch import Tensor

from tuna.config.types import checked
from tuna.losses.base import ScoredLists
from tuna.losses.ranking import RankingLoss, cross_entropy_of_best


@checked
@dataclass(kw_only=True)
class BestSFT(RankingLoss):
    """C = minus the mean v of the list's best candidates, v = (1/|r|) log p(r | i): rejection sampling, best of N.

    The baseline that a ranking loss has to beat; Dong et al. (RAFT), arXiv 2304.06767.
    """

    def per_list(self, lists: ScoredLists) -> Tensor:
        """C, [G]."""
        return cross_entropy_of_best(lists)
