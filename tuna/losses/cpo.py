"""Contrastive preference optimization: DPO with a uniform reference, and cross-entropy on the best response."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import softplus

from tuna.config.types import checked
from tuna.losses.base import ScoredLists, as_lists
from tuna.losses.ranking import OnBest, Scale, Which, over_pairs


@checked
@dataclass(kw_only=True)
class CPO(OnBest):
    """C = mean over pairs j better than k of -log sigmoid(beta * (log p(r_j | i) - log p(r_k | i))), + alpha * L_best.

    Xu et al., arXiv 2401.08417, Eqs. 3 to 5. Settings: beta 0.1, alpha 1. alpha: weight of the cross-entropy of the
    best candidates, per token.
    """

    beta: Scale = 0.1  # what the difference of log-probabilities (nats) is multiplied by
    pairs: Which = "all"  # of a list: all, its best candidates with the rest, or best and worst (extremes)

    def per_list(self, lists: ScoredLists) -> Tensor:
        """C, [G]."""
        ranked = as_lists(lists, self.beta * lists.logprobs)
        return over_pairs(ranked, self.pairs, lambda better, worse: softplus(worse - better))
