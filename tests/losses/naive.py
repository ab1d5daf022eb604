"""The equations written as loops over lists, slowly and independently of the package; tests compare with them."""

import math


def tuna_rank(v: list[float], scores: list[float], margin: float) -> float:
    """Eqs. 4 and 5: the sum over pairs of different score; the distance counts distinct scores."""
    order = sorted(set(scores), reverse=True)
    loss = 0.0
    for j in range(len(v)):
        for k in range(len(v)):
            if scores[j] > scores[k]:
                loss += max(0.0, v[k] - v[j] + margin * (order.index(scores[k]) - order.index(scores[j])))
    return loss


def lmops_rank(v: list[float], scores: list[float], margin: float) -> float:
    """The released code's: mean over pairs at each distance, summed over distances; ties in the order they came."""
    by_rank = [value for _, value in sorted(zip(scores, v, strict=True), key=lambda pair: -pair[0])]
    loss = 0.0
    for distance in range(1, len(v)):
        hinges = [max(0.0, by_rank[i + distance] - by_rank[i] + margin * distance) for i in range(len(v) - distance)]
        loss += sum(hinges) / len(hinges)
    return loss


def pair_accuracy(v: list[float], scores: list[float]) -> float:
    """The share of pairs with different scores that v orders right, equal v one half."""
    right, pairs = 0.0, 0
    for j in range(len(v)):
        for k in range(len(v)):
            if scores[j] > scores[k]:
                pairs += 1
                right += 1.0 if v[j] > v[k] else 0.5 if v[j] == v[k] else 0.0
    return right / pairs if pairs else math.nan
