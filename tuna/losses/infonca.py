"""InfoNCA: the softmax of implicit rewards against the softmax of graded scores."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tuna.config.types import checked
from tuna.losses.base import Lists, ScoredLists, as_lists
from tuna.losses.ranking import Graded, Labels, Scale, labels_of


@checked
@dataclass(kw_only=True)
class InfoNCA(Graded):
    """C = -sum over candidates of q * log softmax(s), q = softmax(label / alpha), s = beta * log(p / p_ref).

    Chen et al., arXiv 2402.05369, Eq. 10. Settings: beta 0.01, learning rate 5e-6, K = 4. As alpha goes to 0, q is
    the best candidate's alone: with two candidates that is DPO, with more LiPO's "softmax" (best against all).

    labels: the scores (auto) or the distinct ranks, laid on 0 to 1 within each list. alpha: temperature of the labels.
    """

    beta: Scale = 0.01
    alpha: Scale = 0.1

    def per_list(self, lists: ScoredLists) -> Tensor:
        """C, [G]; 0 for a list whose labels are all equal."""
        ranked = as_lists(lists, self.rewards(lists))
        target = shares(ranked, self.labels, self.alpha)
        # Absent candidates are far below all others rather than at -inf, whose product with 0 is no number.
        logs = ranked.v.masked_fill(~ranked.present, -1e9).log_softmax(1)
        return -(target * torch.where(ranked.present, logs, 0.0)).sum(1)


def shares(ranked: Lists, labels: Labels, alpha: float) -> Tensor:
    """[G, K] softmax(label / alpha) over the candidates of each list; 0 for a list whose labels are all equal."""
    given = labels_of(ranked, labels)
    weight = (given / alpha - given.amax(1, keepdim=True) / alpha).exp() * ranked.present
    differ = (given > 0).any(1, keepdim=True)
    return torch.where(differ, weight / weight.sum(1, keepdim=True).clamp(min=1e-30), 0.0)
