"""SLiC-HF: a hinge on summed log-probabilities, and cross-entropy on the original response."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tuna.config.types import checked
from tuna.losses.base import ScoredLists, as_lists
from tuna.losses.ranking import RankingLoss, Weight, Which, over_pairs


@checked
@dataclass(kw_only=True)
class SLiC(RankingLoss):
    """C = mean over pairs j better than k of max(0, delta - log p(r_j | i) + log p(r_k | i)), + lambda * L_MLE.

    Zhao et al., arXiv 2305.10425, Eq. 1. Settings: delta 1. delta: the margin, in nats of whole responses.
    lambda: weight of the cross-entropy of the original responses, per token.
    """

    lambda_: Weight = 1.0
    delta: Weight = 1.0
    pairs: Which = "all"  # of a list: all, its best candidates with the rest, or best and worst (extremes)

    def per_list(self, lists: ScoredLists) -> Tensor:
        """C, [G]."""
        ranked = as_lists(lists, lists.logprobs)
        return over_pairs(ranked, self.pairs, lambda better, worse: torch.relu(self.delta - (better - worse)))
