"""Mallows-RMJ: how many answers stand above those that were chosen, by their order alone."""

from dataclasses import dataclass
from math import log
from typing import Annotated, Literal

import torch
from annotated_types import Ge
from torch import Tensor

from tuna.config.types import checked
from tuna.losses.base import Lists, ScoredLists, as_lists, better_pairs, dense_ranks
from tuna.losses.ranking import Referenced


@checked
@dataclass(kw_only=True)
class MallowsRMJ(Referenced):
    """C = d * (sum over i < top of (K - i) * sigmoid(s_(i+1) - s_(i)) + sum over the rest r of sigmoid(s_r - s_(top))).

    (i) is the candidate at place i, the rest are those below place top, s = beta * log(p / p_ref). Without the sigmoid,
    which smooths "stands above", the sum is the distance of the chosen top places from the model's order, and C is
    minus the log-probability of choosing them, up to a constant. Tang and Feng, arXiv 2510.23631 (RCPO, top 2), on
    their model of arXiv 2207.01783. Ties have no order: C is its mean over all orders of the tied, between whom nothing
    is compared. With two candidates it is d * (1 - exp(-DPO)).

    d = -log of the list's dispersion. dispersion=entropy: d = -log(H / log(vocabulary)), the proxy of MallowsPO (arXiv
    2405.14953), so that lists on which the reference is sure count more; H is the reference's entropy per token in
    nats, estimated by its own log-probabilities of the list's answers. dispersion=none: d = 1.

    top: how many places count, from the best. vocabulary: tokens of the model.
    """

    top: Annotated[int, Ge(1)] = 2
    dispersion: Literal["entropy", "none"] = "entropy"  # a list counts by the reference's entropy, or all alike
    vocabulary: Annotated[int, Ge(2)] = 32_000

    def per_list(self, lists: ScoredLists) -> Tensor:
        """C, [G]; 0 for a list without pairs."""
        ranked = as_lists(lists, self.rewards(lists))
        above = (ranked.v[:, None, :] - ranked.v[:, :, None]).sigmoid()  # [G, j, k]: k above j
        cost = (comparisons(ranked, self.top) * above).sum((1, 2))
        return cost * self.concentration(lists) if self.dispersion == "entropy" else cost

    def concentration(self, lists: ScoredLists) -> Tensor:
        """d, [G], at least 0: no dispersion is more than that of equally likely tokens."""
        assert lists.reference is not None  # as rewards() has made sure
        ranked = as_lists(lists, -lists.reference / lists.lengths)
        entropy = ranked.v.sum(1) / ranked.present.sum(1).clamp(min=1)
        return -(entropy / log(self.vocabulary)).clamp(1e-3, 1.0).log()


def comparisons(lists: Lists, top: int) -> Tensor:
    """[G, K, K] how much "k (dim 2) above j (dim 1)" weighs in the distance of the first ``top`` places.

    Four candidates without ties; the best is compared with the next alone, that one with the rest:

    >>> lists = Lists(torch.zeros(1, 4), torch.tensor([[4.0, 3.0, 2.0, 1.0]]), torch.ones(1, 4) > 0, torch.ones(1))
    >>> comparisons(lists, 2)[0].tolist()
    [[0.0, 3.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    """
    better, ranks = better_pairs(lists), dense_ranks(lists)
    equal = (lists.scores[:, :, None] == lists.scores[:, None, :]) & lists.present[:, :, None]
    tied = equal.sum(2).clamp(min=1)  # how many share the place of each, itself one of them
    end = better.sum(1) + tied  # the last place that they share
    below = lists.present.sum(1, keepdim=True) - end
    following = better & (ranks[:, None, :] == ranks[:, :, None] + 1)
    weight = following * (below / tied)[:, :, None] / tied[:, None, :]
    last = (end - tied < top) & (top <= end)  # those who have the place number top
    weight = torch.where(last[:, :, None], better / tied[:, :, None], weight)
    return weight * (end - tied < top)[:, :, None]
