"""Pairwise logistic loss: what reward models are trained with, over all pairs of a list."""

from torch.nn.functional import softplus

from tuna.losses.base import ScoredLists, Term, as_lists
from tuna.losses.ranking import over_pairs


class Pairwise:
    """L = mean over pairs j better than k of -log sigmoid(v_j - v_k), then a mean over lists.

    InstructGPT's form (Ouyang et al., arXiv 2203.02155, Eq. 1): the pairs of a list share one forward pass, and each
    list counts once, however many pairs it has. Equal scores give no pair; an all-tied list adds 0. v is a response's
    reward (stage prm), or its mean log-probability per token where a language model is tuned.

    At equal v every pair costs log 2:

    >>> import torch
    >>> from tuna.losses.base import total
    >>> lists = ScoredLists(torch.full((4,), -2.0), torch.full((4,), 2), torch.tensor([4.0, 3.0, 2.0, 1.0]),
    ...                     torch.zeros(4, dtype=torch.bool), torch.zeros(4, dtype=torch.long), torch.ones(1))
    >>> round(total(Pairwise()(lists), lists).item(), 6)
    0.693147
    """

    def __call__(self, lists: ScoredLists) -> dict[str, Term]:
        """The term "rank"."""
        ranked = as_lists(lists)
        per_list = over_pairs(ranked, "all", lambda better, worse: softplus(worse - better))
        return {"rank": Term((per_list * ranked.weights).sum(), 1.0, per="groups")}
