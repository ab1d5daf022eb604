"""BRIO: the paper's margin loss with a length exponent, weighed against cross-entropy."""

from dataclasses import dataclass, replace

from torch import Tensor

from tuna.config.types import checked
from tuna.losses.base import ScoredLists, Term, as_lists
from tuna.losses.ranking import RankingLoss, Weight
from tuna.losses.tuna import margin_cost


@checked
@dataclass(kw_only=True)
class BRIO(RankingLoss):
    """C = sum over pairs j better than k of max(0, f_k - f_j + margin * (k - j)), f = log p(r | i) / |r|^alpha.

    L = lambda * L_MLE + gamma * mean over lists of C. Liu et al., arXiv 2203.16804, Eqs. 7 to 10. Settings: margin
    0.001, alpha 2 (CNN/DailyMail) or 0.6 (XSum), gamma 100. The distance k - j counts distinct scores.
    """

    lambda_: Weight = 1.0
    margin: Weight = 0.001  # of a pair, per rank, in nats per token^alpha
    alpha: Weight = 2.0  # exponent of a response's length in tokens
    gamma: Weight = 100.0  # weight of the margin loss

    def per_list(self, lists: ScoredLists) -> Tensor:
        """C, [G]."""
        ranked = as_lists(lists, lists.logprobs / lists.lengths**self.alpha)
        return margin_cost(ranked, self.margin)

    def __call__(self, lists: ScoredLists) -> dict[str, Term]:
        """The terms "rank" and "ce"."""
        terms = super().__call__(lists)
        return {**terms, "rank": replace(terms["rank"], coefficient=self.gamma)}
