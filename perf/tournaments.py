"""Designs of tuna.judges.tournament side by side: comparisons asked, and how near the order comes to the true one.

Strengths are drawn from a normal distribution of standard deviation 2, every comparison from Bradley and Terry's model,
so that the stronger answer wins 83% of them. ``python -m perf.tournaments``: a minute.
"""

import math
import random
from collections.abc import Sequence
from statistics import mean

from tuna.data.record import Record
from tuna.inference.answers import Answer
from tuna.judges.base import Case, Comparison, Pair, Ruling
from tuna.judges.tournament import Design, tournament
from tuna.stats import spearman

LISTS = 200


def main() -> None:
    """A line per number of answers and design."""
    print("answers  pairs         comparisons  most  rounds  Spearman  best is first")
    for count in (4, 8, 16):
        half = count * (count - 1) // 4
        for design in (Design(), Design(comparisons=half), Design("swiss"), Design("swiss", half), Design("sorted")):
            if design.problem(count) is None:
                print(measured(count, design))


def measured(count: int, design: Design) -> str:
    """One line: means over lists; most: the most comparisons of one list; rounds: of all lists, one after another."""
    rng, rounds = random.Random(0), 0

    def compare(pairs: Sequence[Pair]) -> list[Comparison]:
        nonlocal rounds
        rounds += bool(pairs)
        chances = [1 / (1 + math.exp(float(pair.second) - float(pair.first))) for pair in pairs]
        signs = [1 if rng.random() < chance else -1 for chance in chances]
        return [Comparison((sign, sign)) for sign in signs]

    strengths = [[rng.gauss(0, 2) for _ in range(count)] for _ in range(LISTS)]
    cases = [Case(Record(str(n), "Q"), [Answer(str(x)) for x in each]) for n, each in enumerate(strengths)]
    found = [ruling for ruling in tournament(cases, compare, design) if isinstance(ruling, Ruling)]
    asked = [ruling.notes["comparisons"] for ruling in found]
    near = [
        spearman([-(level or 0) for level in r.levels], each) or 0.0 for r, each in zip(found, strengths, strict=True)
    ]
    best = [r.levels[each.index(max(each))] == 0 for r, each in zip(found, strengths, strict=True)]
    name = design.pairs + (f", {design.comparisons}" if design.comparisons else "")
    return (
        f"{count:7}  {name:12}  {mean(asked):11.1f}  {max(asked):4}  {rounds:6}  {mean(near):8.3f}  {mean(best):13.3f}"
    )


if __name__ == "__main__":
    main()
