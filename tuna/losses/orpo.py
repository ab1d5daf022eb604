"""Odds-ratio preference optimization: cross-entropy on the best response, and the odds of better over worse."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from tuna.config.types import checked
from tuna.losses.base import ScoredLists, as_lists
from tuna.losses.ranking import OnBest, Weight, Which, over_pairs

_MOST = -1e-6  # of a mean log-probability: the odds of a certain response are infinite


@checked
@dataclass(kw_only=True)
class ORPO(OnBest):
    """C = beta * mean over pairs j better than k of -log sigmoid(log(odds_j / odds_k)), + alpha * L_best.

    odds = P / (1 - P) with P = exp((1/|r|) log p(r | i)). Hong et al., arXiv 2403.07691, Eqs. 4 to 7, whose lambda is
    beta here. Settings: beta 0.1 (0.2 for 7B), alpha 1.
    """

    beta: Weight = 0.1  # weight of the odds ratios
    pairs: Which = "all"  # of a list: all, its best candidates with the rest, or best and worst (extremes)

    def per_list(self, lists: ScoredLists) -> Tensor:
        """C, [G]."""
        mean = (lists.logprobs / lists.lengths).clamp(max=_MOST)
        log_odds = mean - torch.log(-torch.expm1(mean))
        ranked = as_lists(lists, log_odds)
        return self.beta * over_pairs(ranked, self.pairs, lambda better, worse: softplus(worse - better))
