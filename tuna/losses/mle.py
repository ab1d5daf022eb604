"""Instruction tuning, Eq. 2 of the paper."""

from tuna.losses.base import ScoredLists, Term


class MLE:
    """L_MLE(i, r) = -(1/|r|) * log p(r | i) on the target responses: a mean over tokens, then over responses.

    >>> import torch
    >>> from tuna.losses.base import total
    >>> one = ScoredLists(torch.tensor([-6.0]), torch.tensor([3]), torch.tensor([float("nan")]),
    ...                   torch.tensor([True]), torch.tensor([0]), torch.tensor([1.0]))
    >>> total(MLE()(one), one).item()
    2.0
    """

    def __call__(self, lists: ScoredLists) -> dict[str, Term]:
        """The term "ce"."""
        return {"ce": cross_entropy(lists, coefficient=1.0)}


def cross_entropy(lists: ScoredLists, coefficient: float) -> Term:
    """Eq. 2 summed over the target responses of groups with weight 1; the total divides it by their global number."""
    weight = lists.weights[lists.groups] * lists.targets
    return Term(-(lists.logprobs / lists.lengths * weight).sum(), coefficient, per="targets")
