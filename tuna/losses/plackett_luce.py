"""Plackett-Luce loss: the likelihood of the whole order, best first."""

import torch
from torch import Tensor

from tuna.losses.base import Lists, ScoredLists, Term, as_lists, better_pairs


class PlackettLuce:
    """L = sum over candidates j of -log(exp v_j / (exp v_j + sum over k worse than j of exp v_k)), a mean over lists.

    Without ties that is -log of the Plackett-Luce probability of the order (Plackett 1975; ListMLE, Xia et al., ICML
    2008): the best is chosen from all, the next from the rest, and so on. Candidates with equal scores are chosen each
    from itself and what is worse, never from each other, so ties say nothing about their own order; an all-tied list
    adds 0. With two candidates it is the pairwise logistic loss.

    Four candidates at equal v: log 4 + log 3 + log 2:

    >>> from tuna.losses.base import total
    >>> lists = ScoredLists(torch.full((4,), -2.0), torch.full((4,), 2), torch.tensor([4.0, 3.0, 2.0, 1.0]),
    ...                     torch.zeros(4, dtype=torch.bool), torch.zeros(4, dtype=torch.long), torch.ones(1))
    >>> round(total(PlackettLuce()(lists), lists).item(), 6)
    3.178054
    """

    def __call__(self, lists: ScoredLists) -> dict[str, Term]:
        """The term "rank"."""
        return {"rank": Term((order_cost(as_lists(lists)) * lists.weights).sum(), 1.0, per="groups")}


def order_cost(ranked: Lists) -> Tensor:
    """[G] minus the log-likelihood of each list's order under its v, as PlackettLuce has it."""
    width = ranked.v.shape[1]
    itself = torch.eye(width, dtype=torch.bool, device=ranked.v.device) & ranked.present[:, :, None]
    choices = better_pairs(ranked) | itself  # [G, j, k]: what j is chosen from
    values = ranked.v[:, None, :].expand(-1, width, -1).masked_fill(~choices, -torch.inf)
    # A row without choices (an absent candidate) is made finite first: logsumexp of nothing has no gradient.
    values = values.masked_fill(~choices.any(2, keepdim=True), 0.0)
    return torch.where(ranked.present, values.logsumexp(2) - ranked.v, 0.0).sum(1)
