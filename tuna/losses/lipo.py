"""LiPO-lambda: pairs weighed by what exchanging them would change in the DCG of the list."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from tuna.config.types import checked
from tuna.losses.base import ScoredLists, as_lists, better_pairs
from tuna.losses.ranking import Graded, Scale, labels_of


@checked
@dataclass(kw_only=True)
class LiPO(Graded):
    """C = sum over pairs j better than k of D_jk * log(1 + exp(-(s_j - s_k))), s = beta * log(p / p_ref).

    D_jk = |2^y_j - 2^y_k| * |1 / log(1 + t_j) - 1 / log(1 + t_k)|, y the label, t the rank by s, 1 the highest (natural
    logarithms; no gradient through D). Liu et al., arXiv 2402.01878, Eqs. 9 and 10; LambdaLoss, Wang et al., CIKM 2018.
    Settings: beta 0.05, K = 8, batches of 32. labels: the scores (auto) or the distinct ranks, laid on 0 to 1 within
    each list.
    """

    beta: Scale = 0.05

    def per_list(self, lists: ScoredLists) -> Tensor:
        """C, [G]; 0 for a list without pairs."""
        ranked = as_lists(lists, self.rewards(lists))
        with torch.no_grad():
            gain = 2 ** labels_of(ranked, self.labels)
            order = ranked.v.masked_fill(~ranked.present, -torch.inf).argsort(dim=1, descending=True, stable=True)
            discount = 1 / torch.log1p(order.argsort(dim=1) + 1.0)
            weight = (gain[:, :, None] - gain[:, None, :]).abs() * (discount[:, :, None] - discount[:, None, :]).abs()
        cost = weight * softplus(ranked.v[:, None, :] - ranked.v[:, :, None])
        return torch.where(better_pairs(ranked), cost, 0.0).sum((1, 2))
