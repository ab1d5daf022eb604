"""Pointwise logistic loss: each implicit reward by itself against its label."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from tuna.config.types import checked
from tuna.losses.base import ScoredLists, as_lists, better_pairs
from tuna.losses.ranking import Graded, Scale, labels_of


@checked
@dataclass(kw_only=True)
class Pointwise(Graded):
    """C = -mean over candidates of y * log sigmoid(s) + (1 - y) * log sigmoid(-s), y the label, s = beta * log(p /
    p_ref).

    "point-sigmoid" of Liu et al. (LiPO), arXiv 2402.01878, Section 3. Settings: beta 0.05. labels: the scores (auto) or
    the distinct ranks, laid on 0 to 1 within each list.
    """

    beta: Scale = 0.05

    def per_list(self, lists: ScoredLists) -> Tensor:
        """C, [G]; 0 for a list without pairs."""
        ranked = as_lists(lists, self.rewards(lists))
        label = labels_of(ranked, self.labels)
        cost = label * softplus(-ranked.v) + (1 - label) * softplus(ranked.v)
        known = ranked.present & better_pairs(ranked).any(2).any(1)[:, None]
        return torch.where(known, cost, 0.0).sum(1) / known.sum(1).clamp(min=1)
