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


def pairwise(v: list[float], scores: list[float]) -> float:
    """The mean over pairs of different score of -log sigmoid(v_better - v_worse); 0 for a list without pairs."""
    costs = [math.log(1 + math.exp(v[k] - v[j])) for j in range(len(v)) for k in range(len(v)) if scores[j] > scores[k]]
    return sum(costs) / len(costs) if costs else 0.0


def plackett_luce(v: list[float], scores: list[float]) -> float:
    """Best first, each is chosen from itself and what has a lower score."""
    loss = 0.0
    for j in range(len(v)):
        rest = [v[k] for k in range(len(v)) if k == j or scores[k] < scores[j]]
        loss -= math.log(math.exp(v[j]) / sum(math.exp(value) for value in rest))
    return loss


def best_of_n(v: list[float], scores: list[float]) -> float:
    """How likely a candidate of the highest v is one of the highest score."""
    if len(set(scores)) == 1:
        return math.nan
    taken = [score for value, score in zip(v, scores, strict=True) if value == max(v)]
    return taken.count(max(scores)) / len(taken)
