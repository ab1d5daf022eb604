"""The authors' released variant of the loss, for comparison with results that were made with their code."""

from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from tuna.config.types import checked
from tuna.losses.base import Lists, ScoredLists, Term, as_lists


@checked
class LMOps:
    """L = sum over d of (mean over pairs at distance d of max(0, v_k - v_j + m * d)) + lambda * cross-entropy.

    What differs from the paper's Eq. 5 (loss=tuna): at each rank distance d the mean over the pairs is taken, not the
    sum; ties take distinct ranks (stable sort, first come first); and the cross-entropy runs over the tokens of every
    candidate, the worst included, divided by their global number. Rank the original response too with
    ``datamodule.rank_original=best`` or ``worst``.

    lambda: weight of the cross-entropy. margin: m, in nats per token per rank, as in loss=tuna.
    Raises: ConfigError where either is negative or not finite.

    >>> from tuna.losses.base import total
    >>> lists = ScoredLists(torch.full((4,), -2.0), torch.full((4,), 2), torch.tensor([4.0, 3.0, 2.0, 1.0]),
    ...                     torch.zeros(4, dtype=torch.bool), torch.zeros(4, dtype=torch.long), torch.ones(1))
    >>> round(total(LMOps(lambda_=0.0)(lists), lists).item(), 6)
    0.6
    """

    def __init__(self, *, lambda_: Annotated[float, Ge(0)] = 1.0, margin: Annotated[float, Ge(0)] = 0.1) -> None:
        self.lambda_, self.margin = float(lambda_), float(margin)

    def __call__(self, lists: ScoredLists) -> dict[str, Term]:
        """The terms "rank" and "ce"."""
        ranked = as_lists(lists)
        rank = Term((self._per_list(ranked) * ranked.weights).sum(), 1.0, per="groups")
        weight = torch.where(torch.isnan(lists.scores), 0.0, lists.weights[lists.groups])
        ce = Term(-(lists.logprobs * weight).sum(), self.lambda_, per="candidate_tokens")
        return {"rank": rank, "ce": ce}

    def _per_list(self, ranked: Lists) -> Tensor:
        """[G] sum over distances of the mean hinge at that distance."""
        order = torch.sort(ranked.scores, dim=1, descending=True, stable=True).indices  # absent ones (-inf) last
        v, present = ranked.v.gather(1, order), ranked.present.gather(1, order)
        loss = v.new_zeros(v.shape[0])
        for distance in range(1, v.shape[1]):
            pairs = present[:, distance:]  # sorted, so the worse one's presence implies the better one's
            hinge = torch.relu(v[:, distance:] - v[:, :-distance] + self.margin * distance)
            loss = loss + torch.where(pairs, hinge, 0.0).sum(1) / pairs.sum(1).clamp(min=1)
        return loss
