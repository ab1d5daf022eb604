"""KTO: each response by itself, desirable or not, against a reference point."""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Interval
from torch import Tensor

from tuna.config.types import checked
from tuna.losses.base import ScoredLists, as_lists, better_pairs
from tuna.losses.ranking import Graded, Weight, labels_of


@checked
@dataclass(kw_only=True)
class KTO(Graded):
    """C = mean over candidates of w_d * (1 - sigmoid(s - z)) where desirable, else w_u * (1 - sigmoid(z - s)).

    s = beta * log(p / p_ref). Ethayarajh et al., arXiv 2402.01306, Eqs. 6 to 8. Settings: beta 0.1, learning rate 5e-7.

    The reference point z is beta * KL(p || p_ref), at least 0, without gradient. The paper estimates it over the
    mismatched pairs of a micro-batch; here anchor=list takes the mean log-ratio of the list's own candidates, so that
    it does not depend on how a step is split, and anchor=zero takes 0.

    threshold: candidates whose label is at least this are desirable. labels: the scores (auto) or the distinct ranks,
    laid on 0 to 1 within each list. desirable: the weight w_d. undesirable: the weight w_u.
    """

    threshold: Annotated[float, Interval(gt=0, le=1)] = 0.5
    desirable: Weight = 1.0
    undesirable: Weight = 1.0
    anchor: Literal["list", "zero"] = "list"  # the reference point: the mean log-ratio of the list, or 0

    def per_list(self, lists: ScoredLists) -> Tensor:
        """C, [G]; 0 for a list without pairs."""
        ranked = as_lists(lists, self.rewards(lists))
        good = labels_of(ranked, self.labels) >= self.threshold
        count = ranked.present.sum(1, keepdim=True).clamp(min=1)
        point = (ranked.v.detach().sum(1, keepdim=True) / count).clamp(min=0) * (self.anchor == "list")
        up, down = (point - ranked.v).sigmoid(), (ranked.v - point).sigmoid()
        cost = torch.where(good, self.desirable * up, self.undesirable * down)
        known = ranked.present & better_pairs(ranked).any(2).any(1)[:, None]
        return torch.where(known, cost, 0.0).sum(1) / known.sum(1).clamp(min=1)
