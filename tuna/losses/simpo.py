"""SimPO: mean log-probabilities and a target margin, without a reference model."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import softplus

from tuna.config.types import checked
from tuna.losses.base import ScoredLists, as_lists
from tuna.losses.ranking import RankingLoss, Scale, Weight, Which, over_pairs


@checked
@dataclass(kw_only=True)
class SimPO(RankingLoss):
    """C = mean over pairs j better than k of -log sigmoid(beta * (v_j - v_k) - gamma), v = (1/|r|) log p(r | i).

    Meng et al., arXiv 2405.14734, Eq. 6. Settings: beta 2 to 10, gamma / beta 0.1 to 0.8, learning rate 3e-7 to 1e-6,
    batches of 128 ("1e-5 can significantly degrade"). gamma: the target margin, in units of beta * v.
    """

    beta: Scale = 2.0  # what the difference of v (nats per token) is multiplied by
    gamma: Weight = 1.0
    pairs: Which = "all"  # of a list: all, its best candidates with the rest, or best and worst (extremes)

    def per_list(self, lists: ScoredLists) -> Tensor:
        """C, [G]."""
        ranked = as_lists(lists, self.beta * lists.logprobs / lists.lengths)
        return over_pairs(ranked, self.pairs, lambda better, worse: softplus(self.gamma - (better - worse)))
