"""BRIO: the paper's margin loss with a length exponent, weighed against cross-entropy."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tuna.config.types import checked
from tuna.losses.base import ScoredLists, Term, as_lists, better_pairs, dense_ranks
from tuna.losses.mle import cross_entropy
from tuna.losses.ranking import RankingLoss, Weight


@checked
@dataclass(kw_only=True)
class BRIO(RankingLoss):
    """C = sum over pairs j better than k of max(0, f_k - f_j + margin * (k - j)), f = log p(r | i) / |r|^alpha.

    L = lambda * L_MLE + gamma * mean over lists of C. Liu et al., arXiv 2203.16804, Eqs. 7 to 10. Settings: margin
    0.001, alpha 2 (CNN/DailyMail) or 0.6 (XSum), gamma 100. The distance k - j counts distinct scores.
    """

    lambda_: Weight = 1.0
    margin: Weight = 0.001
    alpha: Weight = 2.0
    gamma: Weight = 100.0

    def per_list(self, lists: ScoredLists) -> Tensor:
        """C, [G]."""
        ranked = as_lists(lists, lists.logprobs / lists.lengths**self.alpha)
        ranks = dense_ranks(ranked)
        distance = (ranks[:, None, :] - ranks[:, :, None]).to(ranked.v.dtype)
        hinge = torch.relu(ranked.v[:, None, :] - ranked.v[:, :, None] + self.margin * distance)
        return torch.where(better_pairs(ranked), hinge, 0.0).sum((1, 2))

    def __call__(self, lists: ScoredLists) -> dict[str, Term]:
        """The terms "rank" and "ce"."""
        rank = Term((self.per_list(lists) * lists.weights).sum(), self.gamma, per="groups")
        return {"rank": rank, "ce": cross_entropy(lists, self.lambda_)}
