"""Identity preference optimization: a squared distance from a fixed margin, which cannot run away."""

from dataclasses import dataclass

from torch import Tensor

from tuna.config.types import checked
from tuna.losses.base import ScoredLists, as_lists
from tuna.losses.ranking import Referenced, Which, log_ratios, over_pairs


@checked
@dataclass(kw_only=True)
class IPO(Referenced):
    """C = mean over pairs j better than k of (h_j - h_k - 1 / (2 beta))^2, h = (1/|r|) * log(p(r | i) / p_ref(r | i)).

    Azar et al., arXiv 2310.12036, Eq. 17, whose tau is beta here. Log-ratios are per token, as TRL does after asking
    the authors: in sums the squared distance would grow with the length of the responses. Settings: beta 0.1.
    """

    pairs: Which = "all"  # of a list: all, its best candidates with the rest, or best and worst (extremes)

    def per_list(self, lists: ScoredLists) -> Tensor:
        """C, [G]."""
        ranked = as_lists(lists, log_ratios(lists) / lists.lengths)
        margin = 1 / (2 * self.beta)
        return over_pairs(ranked, self.pairs, lambda better, worse: (better - worse - margin) ** 2)
