"""Random ranked lists for the tests."""

import random
from dataclasses import replace

import torch

from tuna.losses.base import ScoredLists

NAN = float("nan")


def random_lists(seed: int, groups: int = 5, *, ties: bool = True, weights: bool = False) -> ScoredLists:
    """Groups of 2 to 8 candidates and an unranked original each (sometimes a candidate is the target instead)."""
    rng = random.Random(seed)
    logprobs, lengths, scores, targets, owner = [], [], [], [], []
    for group in range(groups):
        count = rng.randint(2, 8)
        values = [float(rng.randint(0, 3)) if ties else rng.random() for _ in range(count)]
        shared = rng.random() < 0.3
        for index, score in enumerate([*values] if shared else [*values, NAN]):
            length = rng.randint(1, 9)
            logprobs.append(-rng.random() * 3 * length)
            lengths.append(length)
            scores.append(score)
            targets.append(index == 0 if shared else index == count)
            owner.append(group)
    return ScoredLists(
        logprobs=torch.tensor(logprobs, dtype=torch.float64, requires_grad=True),
        lengths=torch.tensor(lengths),
        scores=torch.tensor(scores),
        targets=torch.tensor(targets),
        groups=torch.tensor(owner),
        weights=torch.tensor([float(rng.random() < 0.6) if weights else 1.0 for _ in range(groups)]),
    )


def split(lists: ScoredLists) -> list[tuple[list[float], list[float]]]:
    """(v, scores) of the ranked candidates of each group, as plain numbers."""
    result = []
    for group in range(lists.weights.shape[0]):
        chosen = (lists.groups == group) & ~torch.isnan(lists.scores)
        v = (lists.logprobs / lists.lengths)[chosen]
        result.append((v.tolist(), lists.scores[chosen].tolist()))
    return result


def select(lists: ScoredLists, order: torch.Tensor) -> ScoredLists:
    """The same responses in another order (groups stay together only if ``order`` keeps them so)."""
    fields = ("logprobs", "lengths", "scores", "targets", "groups")
    return replace(lists, **{name: getattr(lists, name)[order] for name in fields})
