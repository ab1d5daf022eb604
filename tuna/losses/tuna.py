"""The paper's loss: a margin loss over all pairs of a ranked list plus cross-entropy on the original response."""

from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from tuna.config.types import checked
from tuna.losses.base import Lists, ScoredLists, Term, as_lists, better_pairs, dense_ranks
from tuna.losses.mle import cross_entropy


@checked
class Tuna:
    """L = L_rank + lambda * L_MLE(i, r), Eqs. 4 to 6 of the paper.

    L_rank = sum over pairs j better than k of max(0, v_k - v_j + m * (k - j)), v_k the mean log-probability per token;
    a sum over pairs, then a mean over groups. The distance k - j counts distinct scores, so that ties give no pair.
    L_MLE is Eq. 2 on the original response only.

    lambda: weight of the cross-entropy (paper: 1.0). margin: m, in nats per token per rank (paper: 0.1).
    Raises: ConfigError where either is negative or not finite.

    Four candidates at equal v (the worked value of the paper's sum, 0.1 * (1 + 2 + 3 + 1 + 2 + 1)):

    >>> from tuna.losses.base import total
    >>> lists = ScoredLists(torch.full((4,), -2.0), torch.full((4,), 2), torch.tensor([4.0, 3.0, 2.0, 1.0]),
    ...                     torch.zeros(4, dtype=torch.bool), torch.zeros(4, dtype=torch.long), torch.ones(1))
    >>> round(total(Tuna(margin=0.1)(lists), lists).item(), 6)
    1.0
    """

    def __init__(self, *, lambda_: Annotated[float, Ge(0)] = 1.0, margin: Annotated[float, Ge(0)] = 0.1) -> None:
        self.lambda_, self.margin = float(lambda_), float(margin)

    def __call__(self, lists: ScoredLists) -> dict[str, Term]:
        """The terms "rank" and "ce"."""
        ranked = as_lists(lists)
        rank = Term((margin_cost(ranked, self.margin) * ranked.weights).sum(), 1.0, per="groups")
        return {"rank": rank, "ce": cross_entropy(lists, self.lambda_)}


def margin_cost(ranked: Lists, margin: float) -> Tensor:
    """[G] the sum over pairs j better than k of max(0, v_k - v_j + margin * (k - j)), k - j in distinct scores."""
    ranks = dense_ranks(ranked)
    distance = (ranks[:, None, :] - ranks[:, :, None]).to(ranked.v.dtype)  # [G, j, k]
    hinge = torch.relu(ranked.v[:, None, :] - ranked.v[:, :, None] + margin * distance)
    return torch.where(better_pairs(ranked), hinge, 0.0).sum((1, 2))
