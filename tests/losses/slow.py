"""Every loss of conf/loss as loops over one list, independent of the package: tests compare with them.

A list is (log-probabilities, lengths, reference log-probabilities, scores) as plain numbers.
"""

import math
from collections.abc import Callable
from itertools import combinations, pairwise, permutations, product

Numbers = list[float]
Slow = Callable[[Numbers, Numbers, Numbers, Numbers], float]


def logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def log_loss(x: float) -> float:
    """-log sigmoid(x)."""
    return math.log1p(math.exp(-x)) if x > -30 else -x


def better(scores: Numbers, which: str = "all") -> list[tuple[int, int]]:
    pairs = [(j, k) for j in range(len(scores)) for k in range(len(scores)) if scores[j] > scores[k]]
    if which != "all":
        pairs = [(j, k) for j, k in pairs if scores[j] == max(scores)]
    if which == "extremes":
        pairs = [(j, k) for j, k in pairs if scores[k] == min(scores)]
    return pairs


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def over(values: Numbers, scores: Numbers, cost: Callable[[float, float], float], which: str = "all") -> float:
    return mean([cost(values[j], values[k]) for j, k in better(scores, which)])


def ratios(p: Numbers, ref: Numbers, beta: float = 1.0) -> Numbers:
    return [beta * (a - b) for a, b in zip(p, ref, strict=True)]


def per_token(p: Numbers, n: Numbers, power: float = 1.0) -> Numbers:
    return [a / b**power for a, b in zip(p, n, strict=True)]


def best(p: Numbers, n: Numbers, scores: Numbers) -> float:
    return -mean([v for v, s in zip(per_token(p, n), scores, strict=True) if s == max(scores)])


def grades(scores: Numbers) -> Numbers:
    low, high = min(scores), max(scores)
    return [(s - low) / (high - low) if high > low else 0.0 for s in scores]


def places(scores: Numbers) -> list[int]:
    order = sorted(set(scores), reverse=True)
    return [order.index(s) for s in scores]


def shares(scores: Numbers, alpha: float) -> Numbers:
    if len(set(scores)) == 1:
        return [0.0] * len(scores)
    weights = [math.exp((y - 1) / alpha) for y in grades(scores)]
    return [w / sum(weights) for w in weights]


def log_odds(v: float) -> float:
    return v - math.log(1 - math.exp(v))


def brio(p: Numbers, n: Numbers, ref: Numbers, s: Numbers) -> float:
    f, rank = per_token(p, n, 2.0), places(s)
    return 100 * sum(max(0.0, f[k] - f[j] + 0.001 * (rank[k] - rank[j])) for j, k in better(s))


def pl(values: Numbers, scores: Numbers) -> float:
    total = 0.0
    for j in range(len(values)):
        rest = [values[k] for k in range(len(values)) if k == j or scores[k] < scores[j]]
        total += math.log(sum(math.exp(v - values[j]) for v in rest))
    return total


def infonca(p: Numbers, n: Numbers, ref: Numbers, s: Numbers) -> float:
    r = ratios(p, ref, 0.01)
    norm = math.log(sum(map(math.exp, r)))
    return -sum(q * (x - norm) for q, x in zip(shares(s, 0.1), r, strict=True))


def nca(p: Numbers, n: Numbers, ref: Numbers, s: Numbers) -> float:
    if len(set(s)) == 1:
        return 0.0
    r = ratios(p, ref, 0.01)
    return sum(q * log_loss(x) + log_loss(-x) / len(r) for q, x in zip(shares(s, 0.1), r, strict=True))


def pointwise(p: Numbers, n: Numbers, ref: Numbers, s: Numbers) -> float:
    if len(set(s)) == 1:
        return 0.0
    r = ratios(p, ref, 0.05)
    return mean([y * log_loss(x) + (1 - y) * log_loss(-x) for y, x in zip(grades(s), r, strict=True)])


def lipo(p: Numbers, n: Numbers, ref: Numbers, s: Numbers) -> float:
    r, y = ratios(p, ref, 0.05), grades(s)
    rank = [1 + sum(r[k] > r[j] or (r[k] == r[j] and k < j) for k in range(len(r))) for j in range(len(r))]
    total = 0.0
    for j, k in better(s):
        gain = abs(2 ** y[j] - 2 ** y[k])
        discount = abs(1 / math.log(1 + rank[j]) - 1 / math.log(1 + rank[k]))
        total += gain * discount * log_loss(r[j] - r[k])
    return total


def approx_ndcg(p: Numbers, n: Numbers, ref: Numbers, s: Numbers) -> float:
    if len(set(s)) == 1:
        return 0.0
    r, y = ratios(p, ref, 0.1), grades(s)
    rank = [1 + sum(logistic(25 * (r[k] - r[j])) for k in range(len(r)) if k != j) for j in range(len(r))]
    found = sum((2**g - 1) / math.log2(1 + t) for g, t in zip(y, rank, strict=True))
    ideal = sum((2**g - 1) / math.log2(2 + i) for i, g in enumerate(sorted(y, reverse=True)))
    return 1 - found / ideal


def neural_ndcg(p: Numbers, n: Numbers, ref: Numbers, s: Numbers) -> float:
    if len(set(s)) == 1:
        return 0.0
    r, y, size = ratios(p, ref, 0.1), grades(s), len(p)
    rows = []
    for place in range(1, size + 1):
        row = [math.exp((size + 1 - 2 * place) * a - sum(abs(a - b) for b in r)) for a in r]
        rows.append([x / sum(row) for x in row])
    for _ in range(50):
        columns = [sum(row[j] for row in rows) for j in range(size)]
        rows = [[x / c for x, c in zip(row, columns, strict=True)] for row in rows]
        rows = [[x / sum(row) for x in row] for row in rows]
    gains = [sum(x * (2**g - 1) for x, g in zip(row, y, strict=True)) for row in rows]
    ideal = sum((2**g - 1) / math.log2(2 + i) for i, g in enumerate(sorted(y, reverse=True)))
    return 1 - sum(g / math.log2(2 + i) for i, g in enumerate(gains)) / ideal


def lambda_dpo(p: Numbers, n: Numbers, ref: Numbers, s: Numbers) -> float:
    r = per_token(ratios(p, ref, 0.1), n)
    norm = math.log(sum(map(math.exp, r)))
    return -sum(q * (x - norm) for q, x in zip(shares(s, 0.25), r, strict=True))


def orders(s: Numbers) -> list[list[int]]:
    """Every order from the best to the worst, the tied ones in each order of theirs."""
    groups = [[j for j in range(len(s)) if s[j] == value] for value in sorted(set(s), reverse=True)]
    return [[j for part in parts for j in part] for parts in product(*map(permutations, groups))]


def mallows_rmj(p: Numbers, n: Numbers, ref: Numbers, s: Numbers) -> float:
    r, size = ratios(p, ref, 0.1), len(p)
    found = []
    for order in orders(s):
        cost = 0.0
        for i, (j, k) in enumerate(pairwise(order), start=1):
            if i < 2 and s[j] > s[k]:  # the first place against the second, of the top 2
                cost += (size - i) * logistic(r[k] - r[j])
        if size >= 2:
            second = order[1]
            cost += sum(logistic(r[k] - r[second]) for k in order[2:] if s[k] < s[second])
        found.append(cost)
    entropy = mean([-v for v in per_token(ref, n)]) / math.log(32_000)
    return -math.log(min(1.0, max(1e-3, entropy))) * mean(found)


def kto(p: Numbers, n: Numbers, ref: Numbers, s: Numbers) -> float:
    if len(set(s)) == 1:
        return 0.0
    r = ratios(p, ref, 0.1)
    z = max(0.0, mean(r))
    return mean([1 - logistic(x - z) if y >= 0.5 else 1 - logistic(z - x) for x, y in zip(r, grades(s), strict=True)])


def with_ties(win: Callable[[float], float], tie: Callable[[float], float]) -> Slow:
    """win, tie: probabilities of s_j - s_k."""

    def cost(p: Numbers, n: Numbers, ref: Numbers, s: Numbers) -> float:
        r = ratios(p, ref, 0.1)
        costs = [-math.log(win(r[j] - r[k])) for j, k in better(s)]
        costs += [-math.log(tie(r[j] - r[k])) for j, k in combinations(range(len(r)), 2) if s[j] == s[k]]
        return mean(costs)

    return cost


def davidson_win(d: float) -> float:
    return 1 / (1 + math.exp(-d) + 2 * math.exp(-d / 2))


def rao_win(d: float) -> float:
    return math.exp(d) / (math.exp(d) + 3)


# The part "rank", times its coefficient.
SLOW: dict[str, Slow] = {
    "dpo": lambda p, n, ref, s: over(ratios(p, ref, 0.1), s, lambda a, b: log_loss(a - b)),
    "dpo_best": lambda p, n, ref, s: over(ratios(p, ref, 0.1), s, lambda a, b: log_loss(a - b), "best"),
    "dpo_norm": lambda p, n, ref, s: over(per_token(ratios(p, ref, 5.0), n), s, lambda a, b: log_loss(a - b)),
    "ipo": lambda p, n, ref, s: over(per_token(ratios(p, ref), n), s, lambda a, b: (a - b - 5) ** 2),
    "hinge": lambda p, n, ref, s: over(ratios(p, ref, 0.05), s, lambda a, b: max(0.0, 1 - (a - b))),
    "apo_zero": lambda p, n, ref, s: over(ratios(p, ref, 0.1), s, lambda a, b: 1 - logistic(a) + logistic(b)),
    "simpo": lambda p, n, ref, s: over(per_token(p, n), s, lambda a, b: log_loss(2 * (a - b) - 1)),
    "cpo": lambda p, n, ref, s: over(p, s, lambda a, b: log_loss(0.1 * (a - b))),
    "orpo": lambda p, n, ref, s: 0.1 * over(per_token(p, n), s, lambda a, b: log_loss(log_odds(a) - log_odds(b))),
    "slic": lambda p, n, ref, s: over(p, s, lambda a, b: max(0.0, 1 - a + b)),
    "rrhf": lambda p, n, ref, s: sum(max(0.0, p[k] / n[k] - p[j] / n[j]) for j, k in better(s)),
    "brio": brio,
    "pl_dpo": lambda p, n, ref, s: pl(ratios(p, ref, 0.1), s),
    "infonca": infonca,
    "nca": nca,
    "pointwise": pointwise,
    "lipo": lipo,
    "approx_ndcg": approx_ndcg,
    "neural_ndcg": neural_ndcg,
    "lambda_dpo": lambda_dpo,
    "mallows_rmj": mallows_rmj,
    "kto": kto,
    "rao_kupper": with_ties(rao_win, lambda d: 8 * rao_win(d) * rao_win(-d)),
    "davidson": with_ties(davidson_win, lambda d: 2 * math.exp(-d / 2) * davidson_win(d)),
    "best_sft": lambda p, n, ref, s: best(p, n, s),
}
