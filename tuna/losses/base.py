"""What every loss takes and gives, and ranked lists as padded tensors with the metrics that are read off them."""

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from tuna.data.batch import Totals


@dataclass(frozen=True, slots=True)
class ScoredLists:
    """R responses of G groups with their summed log-probabilities (natural log) under the model that is tuned."""

    logprobs: Tensor  # [R] float32, differentiable
    lengths: Tensor  # [R] int64, tokens
    scores: Tensor  # [R] float32, higher is better, NaN = not ranked
    targets: Tensor  # [R] bool, cross-entropy targets
    groups: Tensor  # [R] int64, group index 0..G-1
    weights: Tensor  # [G] float32, 1 for a real group, 0 for one that only fills the batch
    reference: Tensor | None = None  # [R] float32, summed log-probabilities under the reference model
    most_ranked: int | None = None  # ranked responses of the group that has most; None: counted, for which a GPU waits

    @property
    def values(self) -> Tensor:
        """[R] what orders the responses: v = (1/|r|) * log p(r | i), the mean log-probability per token (Eq. 4)."""
        return self.logprobs / self.lengths


class RewardLists(ScoredLists):
    """The same from a reward model: ``logprobs`` holds the rewards, which order the responses as they are."""

    __slots__ = ()

    @property
    def values(self) -> Tensor:
        """[R] the rewards."""
        return self.logprobs


@dataclass(frozen=True, slots=True)
class Term:
    """One part of a loss: a sum, the coefficient it has in the total, and the global count that it is divided by."""

    sum: Tensor  # scalar, differentiable
    coefficient: float
    per: Literal["groups", "targets", "candidate_tokens"]


class Loss(Protocol):
    """A loss gives named terms; total = sum over terms of coefficient * sum / global count."""

    def __call__(self, lists: ScoredLists) -> dict[str, Term]:
        """The named terms for these lists."""


def local_counts(lists: ScoredLists) -> dict[str, Tensor]:
    """The counts of these lists alone, by the names of Totals, left on the device."""
    weight = lists.weights[lists.groups]
    return {
        "groups": lists.weights.sum(),
        "targets": (weight * lists.targets).sum(),
        "candidate_tokens": (weight * ~torch.isnan(lists.scores) * lists.lengths).sum(),
    }


def local_totals(lists: ScoredLists) -> Totals:
    """The same as numbers: what the sums are divided by when nothing is accumulated or sharded."""
    return Totals(**{name: float(count) for name, count in local_counts(lists).items()})


def total(terms: dict[str, Term], lists: ScoredLists, totals: Totals | None = None) -> Tensor:
    """The loss, a scalar: the sum over terms of coefficient * sum / global count; a count of 0 adds 0.

    totals: the global counts; None takes those of ``lists`` alone.
    """
    counts = totals or local_totals(lists)
    parts = [term.coefficient * term.sum / max(getattr(counts, term.per), 1.0) for term in terms.values()]
    return torch.stack(parts).sum()


@dataclass(frozen=True, slots=True)
class Lists:
    """G lists padded to K candidates. Unranked responses (score NaN) are left out."""

    v: Tensor  # [G, K] mean log-probability per token, v_k of Eq. 4, or reward; 0 where absent
    scores: Tensor  # [G, K]; -inf where absent
    present: Tensor  # [G, K] bool
    weights: Tensor  # [G]


def as_lists(lists: ScoredLists, values: Tensor | None = None) -> Lists:
    """Gather each group's ranked responses into a padded row, in order; v is ``values`` [R] or ``lists.values``."""
    ranked, owner = ~torch.isnan(lists.scores), lists.groups
    counts = torch.zeros_like(lists.weights, dtype=torch.long).index_add(0, owner, ranked.long())
    width = lists.most_ranked if lists.most_ranked is not None else max(1, int(counts.amax()))
    starts = torch.cumsum(counts, 0) - counts
    # What is not ranked goes into a column too many: shapes that depend on values would have a GPU waited for.
    column = torch.where(ranked, torch.cumsum(ranked, 0) - 1 - starts[owner], width)
    chosen = torch.where(ranked, lists.values if values is None else values, 0.0)
    v = chosen.new_zeros(len(counts), width + 1).index_put((owner, column), chosen)[:, :width]
    scores = torch.full((len(counts), width + 1), -torch.inf, dtype=v.dtype, device=v.device)
    scores = scores.index_put((owner, column), lists.scores.to(v.dtype))[:, :width]
    present = torch.arange(width, device=v.device) < counts[:, None]
    return Lists(v=v, scores=scores, present=present, weights=lists.weights)


def dense_ranks(lists: Lists) -> Tensor:
    """[G, K] rank of each candidate, 0 the best, equal scores sharing one: the number of distinct higher scores.

    >>> scores = torch.tensor([[3.0, 2.0, 2.0, 1.0]])
    >>> dense_ranks(Lists(torch.zeros(1, 4), scores, torch.ones(1, 4, dtype=torch.bool), torch.ones(1))).tolist()
    [[0, 1, 1, 2]]
    """
    scores, width = lists.scores, lists.scores.shape[1]
    equal = scores[:, :, None] == scores[:, None, :]
    earlier = torch.ones(width, width, dtype=torch.bool, device=scores.device).tril(-1)
    first = lists.present & ~(equal & earlier).any(2)  # the first candidate with its score
    higher = scores[:, None, :] > scores[:, :, None]
    return (higher & first[:, None, :]).sum(2)


def better_pairs(lists: Lists) -> Tensor:
    """[G, K, K] bool: candidate j (dim 1) has a strictly higher score than candidate k (dim 2), both present."""
    present = lists.present[:, :, None] & lists.present[:, None, :]
    return (lists.scores[:, :, None] > lists.scores[:, None, :]) & present


def pair_accuracy(lists: Lists) -> Tensor:
    """[G] share of pairs with different scores that v orders right, equal v one half; NaN for a list without pairs.

    >>> v, scores = torch.tensor([[-1.0, -2.0, -2.0]]), torch.tensor([[2.0, 1.0, 0.0]])
    >>> round(pair_accuracy(Lists(v, scores, torch.ones(1, 3, dtype=torch.bool), torch.ones(1))).item(), 4)
    0.8333
    """
    pairs = better_pairs(lists)
    gap = lists.v[:, :, None] - lists.v[:, None, :]
    right = (gap > 0).float() + 0.5 * (gap == 0).float()
    return (right * pairs).sum((1, 2)) / pairs.sum((1, 2))


def violations(lists: Lists, margin: float) -> Tensor:
    """[G] share of pairs, j better than k, with v_j - v_k < margin * (rank distance); NaN for a list without pairs."""
    pairs, ranks = better_pairs(lists), dense_ranks(lists)
    distance = ranks[:, None, :] - ranks[:, :, None]
    short = lists.v[:, :, None] - lists.v[:, None, :] < margin * distance
    return (short & pairs).sum((1, 2)) / pairs.sum((1, 2))


def best_and_worst(lists: Lists) -> tuple[Tensor, Tensor]:
    """[G, K] bool each: the present candidates with the list's highest score, and with its lowest."""
    best = lists.present & (lists.scores == lists.scores.amax(1, keepdim=True))
    lowest = lists.scores.masked_fill(~lists.present, torch.inf).amin(1, keepdim=True)
    return best, lists.present & (lists.scores == lowest)


def extremes(lists: Lists) -> tuple[Tensor, Tensor]:
    """Mean v of the best-scored and of the worst-scored candidates, [G] each; NaN for a list without pairs."""
    none = ~better_pairs(lists).any(2).any(1)
    chosen = best_and_worst(lists)
    means = [((lists.v * each).sum(1) / each.sum(1)).masked_fill(none, torch.nan) for each in chosen]
    return means[0], means[1]


def kendall_tau(lists: Lists) -> Tensor:
    """[G] Kendall's tau-b of v and scores, ties of either counted; NaN where one of them has no two different values.

    tau_b = (concordant - discordant) / sqrt(pairs with different v * pairs with different scores).

    >>> v, scores = torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([[2.0, 1.0, 0.0]])
    >>> round(kendall_tau(Lists(v, scores, torch.ones(1, 3, dtype=torch.bool), torch.ones(1))).item(), 4)
    0.3333
    """
    pairs = better_pairs(lists)
    gap = lists.v[:, :, None] - lists.v[:, None, :]
    both = lists.present[:, :, None] & lists.present[:, None, :]
    in_v, in_scores = (both & (gap > 0)).sum((1, 2)), pairs.sum((1, 2))
    return (gap.sign() * pairs).sum((1, 2)) / (in_v * in_scores).sqrt()


def ndcg(lists: Lists) -> Tensor:
    """[G] the normalized discounted cumulative gain of the order by v, equal v in their order; NaN without a pair.

    DCG = sum over candidates of (2^y - 1) / log2(1 + place), y = 1 for the best score down to 0 for the worst, by
    distinct ranks; divided by that of the order by score (Jarvelin and Kekalainen, TOIS 2002).

    >>> v, scores = torch.tensor([[-1.0, -2.0]]), torch.tensor([[0.0, 1.0]])
    >>> round(ndcg(Lists(v, scores, torch.ones(1, 2, dtype=torch.bool), torch.ones(1))).item(), 4)  # 1 / log2(3)
    0.6309
    """
    ranks = dense_ranks(lists)
    most = ranks.masked_fill(~lists.present, 0).amax(1, keepdim=True)
    gain = torch.where(lists.present, 2 ** (1 - ranks / most) - 1, 0.0)  # NaN where all are tied
    order = lists.v.masked_fill(~lists.present, -torch.inf).argsort(dim=1, descending=True, stable=True)
    discount = 1 / torch.log2(torch.arange(gain.shape[1], device=gain.device) + 2.0)
    return (gain.gather(1, order) * discount).sum(1) / (gain.sort(dim=1, descending=True).values * discount).sum(1)


def best_of_n(lists: Lists) -> Tensor:
    """[G] the chance that the candidate with the highest v has the best score; NaN for a list without pairs.

    Where several candidates share the highest v, one of them is taken at random.

    >>> v, scores = torch.tensor([[2.0, 2.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]])
    >>> best_of_n(Lists(v, scores, torch.ones(1, 3, dtype=torch.bool), torch.ones(1))).item()
    0.5
    """
    highest = lists.v.masked_fill(~lists.present, -torch.inf)
    taken = lists.present & (highest == highest.amax(1, keepdim=True))
    best = lists.present & (lists.scores == lists.scores.amax(1, keepdim=True))
    share = (taken & best).sum(1) / taken.sum(1)
    return share.masked_fill(~better_pairs(lists).any(2).any(1), torch.nan)


def right_by_length(lists: Lists, lengths: Lists) -> Tensor:
    """[G, 4] pairs that v orders right, and pairs, where the better response is longer, then where it is shorter.

    lengths: the same lists with lengths as their v. Equal v counts as half right; pairs of equal length do not count.
    """
    pairs = better_pairs(lists)
    gap = lists.v[:, :, None] - lists.v[:, None, :]
    right = (gap > 0).double() + 0.5 * (gap == 0).double()
    longer = lengths.v[:, :, None] - lengths.v[:, None, :]  # the lengths stand as v; 0 counts nowhere
    counts = []
    for kind in (longer > 0, longer < 0):
        chosen = pairs & kind
        counts += [(right * chosen).sum((1, 2)), chosen.sum((1, 2)).double()]
    return torch.stack(counts, 1)
