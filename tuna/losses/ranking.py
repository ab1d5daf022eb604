"""What ranking losses share: a cost per list, averaged over lists, and lambda times the cross-entropy of Eq. 2."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Gt
from torch import Tensor

from tuna.config.types import checked
from tuna.losses.base import Lists, ScoredLists, Term, as_lists, best_and_worst, better_pairs, dense_ranks
from tuna.losses.mle import cross_entropy

Which = Literal["all", "best", "extremes"]
Labels = Literal["auto", "scores", "ranks"]
Weight = Annotated[float, Ge(0)]
Scale = Annotated[float, Gt(0)]


@checked
@dataclass(kw_only=True)
class RankingLoss(ABC):
    """L = mean over lists of C + lambda * L_MLE. C is a subclass's; L_MLE is Eq. 2 on the original responses.

    lambda: weight of the cross-entropy; at 0 it is only logged.
    """

    lambda_: Weight = 0.0

    needs_reference: ClassVar[bool] = False  # whether ScoredLists.reference has to be there
    needs_grades: ClassVar[bool] = False  # whether the size of a difference in scores counts, not only its sign

    @abstractmethod
    def per_list(self, lists: ScoredLists) -> Tensor:
        """C, [G]; 0 for a list that has nothing to rank."""

    def __call__(self, lists: ScoredLists) -> dict[str, Term]:
        """The terms "rank" and "ce"."""
        rank = Term((self.per_list(lists) * lists.weights).sum(), 1.0, per="groups")
        return {"rank": rank, "ce": cross_entropy(lists, self.lambda_)}


@checked
@dataclass(kw_only=True)
class OnBest(RankingLoss):
    """Adds alpha times the cross-entropy of the list's best candidates, which is logged as "best".

    alpha: weight of that cross-entropy, per token.

    L_best = mean over lists of -(mean v of the best candidates), v = (1/|r|) log p(r | i).
    """

    alpha: Weight = 1.0

    def __call__(self, lists: ScoredLists) -> dict[str, Term]:
        """The terms "rank", "best" and "ce"."""
        best = Term((cross_entropy_of_best(lists) * lists.weights).sum(), self.alpha, per="groups")
        return {**super().__call__(lists), "best": best}


@checked
@dataclass(kw_only=True)
class Referenced(RankingLoss):
    """Losses on s = beta * log(p(r | i) / p_ref(r | i)), the implicit reward of DPO (arXiv 2305.18290, Eq. 5).

    beta: what a log-ratio (nats) is multiplied by: at more, the model is held nearer to the reference. reference: the
    model whose log-probabilities are the reference, a folder or a hub id; null is the one that the run starts from.
    """

    beta: Scale = 0.1
    reference: str | None = None

    needs_reference: ClassVar[bool] = True

    def rewards(self, lists: ScoredLists) -> Tensor:
        """s of each response, [R]."""
        return self.beta * log_ratios(lists)


@checked
@dataclass(kw_only=True)
class Graded(Referenced):
    """Of these, losses that go by how much better an answer is. labels: see ``labels_of``."""

    labels: Labels = "auto"

    needs_grades: ClassVar[bool] = True


def log_ratios(lists: ScoredLists) -> Tensor:
    """log p(r | i) - log p_ref(r | i) of each response, [R]."""
    if lists.reference is None:
        raise ValueError("this loss needs the reference's log-probabilities")
    return lists.logprobs - lists.reference


def over_pairs(lists: Lists, which: Which, cost: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """[G] mean over a list's pairs of cost(v of the better, v of the worse); 0 for a list without pairs.

    which: "all" pairs of different scores, those of the "best" candidates against the rest, or of the "extremes", best
    against worst. cost takes tensors that broadcast to [G, K, K].
    """
    pairs = better_pairs(lists)
    best, worst = best_and_worst(lists)
    if which != "all":
        pairs = pairs & best[:, :, None]
    if which == "extremes":
        pairs = pairs & worst[:, None, :]
    costs = cost(lists.v[:, :, None], lists.v[:, None, :])
    return torch.where(pairs, costs, 0.0).sum((1, 2)) / pairs.sum((1, 2)).clamp(min=1)


def cross_entropy_of_best(lists: ScoredLists) -> Tensor:
    """[G] minus the mean v of each list's best candidates; 0 for a list without candidates."""
    ranked = as_lists(lists, lists.logprobs / lists.lengths)
    best, _ = best_and_worst(ranked)
    return -(ranked.v * best).sum(1) / best.sum(1).clamp(min=1)


def labels_of(lists: Lists, kind: Labels) -> Tensor:
    """[G, K] labels from 0 (a list's worst) to 1 (its best): its scores, or its distinct ranks, laid on that range.

    "auto" is "scores"; it says that scores which are but ranks will do. A list whose scores are all equal has labels of
    0, as absent candidates have.

    >>> scores = torch.tensor([[7.0, 1.0, 4.0, 4.0]])
    >>> lists = Lists(torch.zeros(1, 4), scores, torch.ones(1, 4, dtype=torch.bool), torch.ones(1))
    >>> labels_of(lists, "scores").tolist()
    [[1.0, 0.0, 0.5, 0.5]]
    """
    values = -dense_ranks(lists).to(lists.v.dtype) if kind == "ranks" else lists.scores
    low = values.masked_fill(~lists.present, torch.inf).amin(1, keepdim=True)
    high = values.masked_fill(~lists.present, -torch.inf).amax(1, keepdim=True)
    spread = high - low
    known = lists.present & (spread > 0)
    return torch.where(known, (values - low) / torch.where(spread > 0, spread, 1.0), 0.0).to(lists.v.dtype)
