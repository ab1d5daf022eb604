"""Lists from comparisons: strengths worked by hand and by a slow maximizer, schedules, budgets, what is no ruling."""

import math
import random
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Literal

import numpy as np
import pytest
from scipy.optimize import minimize

from tuna.data.record import Record
from tuna.errors import ConfigError
from tuna.inference.answers import Answer
from tuna.judges.base import Case, Comparison, NoRuling, Pair, Ruling
from tuna.judges.tournament import (
    PRECISION,
    Design,
    Outcome,
    bradley_terry,
    connected,
    cycles,
    levels_of,
    most_of_sort,
    tournament,
)

SIGNS = {"win": (1, 1), "lose": (-1, -1), "tie": (0, 0)}


def case_of(values: Sequence[float], name: str = "0") -> Case:
    return Case(Record(name, "The largest?"), [Answer(str(value)) for value in values])


def larger(pairs: Sequence[Pair]) -> list[Comparison]:
    """Never wrong: the larger number is better."""
    signs = [(float(p.first) > float(p.second)) - (float(p.first) < float(p.second)) for p in pairs]
    return [Comparison((sign, sign)) for sign in signs]


def told(verdicts: dict[tuple[str, str], Comparison]) -> Callable[[Sequence[Pair]], list[Comparison]]:
    """Says of two texts what stands there, whichever comes first."""

    def compare(pairs: Sequence[Pair]) -> list[Comparison]:
        turned = {"win": "lose", "lose": "win", "tie": "tie"}
        found = []
        for pair in pairs:
            if (comparison := verdicts.get((pair.first, pair.second))) is None:
                other = verdicts[pair.second, pair.first]
                comparison = Comparison(SIGNS[turned[other.outcome]]) if other.outcome != "error" else other
            found.append(comparison)
        return found

    return compare


def ruled(values: Sequence[float], design: Design, seed: int = 0) -> Ruling:
    [ruling] = tournament([case_of(values)], larger, design, seed=seed)
    assert isinstance(ruling, Ruling)
    return ruling


def slow(count: int, outcomes: Sequence[Outcome]) -> list[float]:
    """The same maximum, written out term by term and found without a gradient of ours."""

    def minus_log_posterior(at: Sequence[float]) -> float:
        total = sum(PRECISION / 2 * x**2 for x in at)
        nu = math.exp(at[count])
        for first, second, win, tie, loss in outcomes:
            a, b = math.exp(at[first]), math.exp(at[second])
            d = a + b + nu * math.sqrt(a * b)
            total -= win * math.log(a / d) + tie * math.log(nu * math.sqrt(a * b) / d) + loss * math.log(b / d)
        return total

    found = minimize(minus_log_posterior, [0.0] * (count + 1), method="L-BFGS-B", options={"ftol": 1e-14, "gtol": 1e-8})
    return [float(x) for x in found.x[:count]]


def test_two_players_three_to_one_with_ties() -> None:
    """Davidson's maximum for two players is exact: the ratio of strengths is that of wins, whatever the ties."""
    a, b = bradley_terry(2, [Outcome(0, 1, 3e6, 2e6, 1e6)])
    assert a - b == pytest.approx(math.log(3), abs=1e-5) and a + b == pytest.approx(0, abs=1e-6)
    a, b = bradley_terry(2, [Outcome(0, 1, 1, 0, 0)])
    assert 0 < a - b < 20  # never beaten, and finite


def test_three_players_of_twice_the_strength_each() -> None:
    """With nu = 1: 2 beats 1 in 2 / (2 + 1 + sqrt 2), and 4 beats 1 in 4 / (4 + 1 + 2)."""
    near, far = 3 + math.sqrt(2), 7
    outcomes = [
        Outcome(0, 1, 2e6 / near, math.sqrt(2) * 1e6 / near, 1e6 / near),
        Outcome(1, 2, 2e6 / near, math.sqrt(2) * 1e6 / near, 1e6 / near),
        Outcome(0, 2, 4e6 / far, 2e6 / far, 1e6 / far),
    ]
    assert bradley_terry(3, outcomes) == pytest.approx([math.log(2), 0, -math.log(2)], abs=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_a_slow_maximizer_finds_the_same(seed: int) -> None:
    rng = random.Random(seed)
    outcomes = [Outcome(a, b, rng.random(), rng.random() * seed, rng.random()) for a, b in combinations(range(4), 2)]
    found = bradley_terry(4, outcomes)
    assert found == pytest.approx(slow(4, outcomes), abs=1e-4) and sum(found) == pytest.approx(0, abs=1e-6)
    turned = [Outcome(o.second, o.first, o.loss, o.tie, o.win) for o in outcomes]
    rng.shuffle(turned)
    assert bradley_terry(4, turned) == pytest.approx(found, abs=1e-7)


def test_known_strengths_are_recovered() -> None:
    rng, strengths, nu = random.Random(5), [1.5, 0.7, 0.0, -0.4, -1.8], 0.8
    counts = {pair: [0.0, 0.0, 0.0] for pair in combinations(range(5), 2)}
    for (a, b), found in counts.items():
        chances = math.exp(strengths[a]), nu * math.exp((strengths[a] + strengths[b]) / 2), math.exp(strengths[b])
        for k in rng.choices(range(3), chances, k=3000):
            found[k] += 1
    assert bradley_terry(5, [Outcome(*pair, *n) for pair, n in counts.items()]) == pytest.approx(strengths, abs=0.12)


def test_weights_that_are_no_numbers_are_told() -> None:
    with np.errstate(invalid="ignore"), pytest.raises(ArithmeticError, match="no strengths found for 2 players"):
        bradley_terry(2, [Outcome(0, 1, math.nan, 0, 0)])


def test_equal_strengths_share_a_level() -> None:
    assert levels_of([0.0, 2e-6, 1e-7]) == [1, 0, 1] and levels_of([1.0, 3.0, 2.0]) == [2, 0, 1]
    assert ruled([5, 5, 5], Design()).levels == [0, 0, 0]
    assert ruled([2, 1, 3, 2], Design()).levels == [1, 2, 0, 1]


def test_a_circle_is_a_tie_and_is_counted() -> None:
    win = Comparison((1, 1))
    [ruling] = tournament([case_of([1, 2, 3])], told({("1", "2"): win, ("2", "3"): win, ("3", "1"): win}), Design())
    assert isinstance(ruling, Ruling) and ruling.levels == [0, 0, 0] and ruling.notes["cycles"] == 1
    beats = [(0, 1), (1, 2), (2, 3), (3, 0), (0, 2), (1, 3)]  # 0 > 1 > 3 > 0 and 0 > 2 > 3 > 0; the other two are none
    assert cycles(4, [Outcome(a, b, 1, 0, 0) for a, b in beats]) == 2
    assert cycles(3, [Outcome(0, 1, 1, 0, 0), Outcome(1, 2, 1, 0, 0), Outcome(0, 2, 1, 0, 0)]) == 0


@pytest.mark.parametrize("pairs", ["all", "swiss", "sorted"])
def test_the_order_of_the_answers_does_not_matter(pairs: Literal["all", "swiss", "sorted"]) -> None:
    values = [3, 1, 4, 1.5, 9, 2.6]
    wanted = [sorted(values, reverse=True).index(value) for value in values]
    assert ruled(values, Design(pairs)).levels == wanted
    for seed in range(5):
        mixed = random.Random(seed).sample(range(6), 6)
        assert ruled([values[k] for k in mixed], Design(pairs), seed).levels == [wanted[k] for k in mixed]


@pytest.mark.parametrize("count", [2, 3, 4, 5, 8, 13, 16])
def test_budgeted_schedules_rank_as_all_pairs_where_nobody_errs(count: int) -> None:
    for seed in range(4):
        values = [float(value) for value in random.Random(seed).sample(range(100), count)]
        levels = ruled(values, Design(), seed).levels
        swiss, merged = ruled(values, Design("swiss"), seed), ruled(values, Design("sorted"), seed)
        assert swiss.levels == merged.levels == levels
        assert merged.notes["comparisons"] <= most_of_sort(count) == Design("sorted").most(count)
        pairs = [frozenset(outcome[:2]) for outcome in swiss.notes["outcomes"]]
        assert len(pairs) == len(set(pairs)) <= count * (count - 1) // 2
        if count >= 8:
            assert len(pairs) < 0.8 * count * (count - 1) / 2


@pytest.mark.parametrize("pairs", ["all", "swiss"])
def test_any_budget_that_can_connect_all_answers_does(pairs: Literal["all", "swiss"]) -> None:
    for count in range(2, 26):
        for most in (count - 1, count):
            ruling = ruled(list(range(count)), Design(pairs, comparisons=most), seed=count)
            assert ruling.notes["comparisons"] == min(most, count * (count - 1) // 2)


def test_what_a_budget_cannot_do_is_said_and_nothing_is_asked() -> None:
    found = tournament([case_of(range(8))], lambda pairs: pytest.fail("asked"), Design("sorted", comparisons=10))
    assert found == [NoRuling("comparisons=10 is too few for 8 answers: pairs=sorted takes up to 17")]
    assert Design("swiss", comparisons=2).problem(4) == "comparisons=2 is too few for 4 answers: pairs=swiss needs 3"
    with pytest.raises(ConfigError, match="comparisons: expected 1 or more"):
        Design(comparisons=0)


def test_rounds_of_all_lists_are_asked_together() -> None:
    rounds: list[int] = []

    def compare(pairs: Sequence[Pair]) -> list[Comparison]:
        rounds.append(len(pairs))
        return larger(pairs)

    cases = [case_of(random.Random(n).sample(range(50), 8), str(n)) for n in range(20)]
    tournament(cases, compare, Design())
    assert rounds == [20 * 28]
    rounds.clear()
    tournament(cases, compare, Design("swiss"))
    assert len(rounds) <= 8 and rounds[0] == 20 * 7
    rounds.clear()
    tournament(cases, compare, Design("sorted"))
    assert len(rounds) <= 11 and rounds[0] == 20 * 4  # four merges at once; at most 1 + 3 + 7 comparisons after another


def test_an_unreadable_comparison_is_left_out_and_counted() -> None:
    def compare(pairs: Sequence[Pair]) -> list[Comparison]:
        unreadable = Comparison((1, None), "no [[A]], [[B]] or [[C]] found", ["Well."])
        return [
            unreadable if {p.first, p.second} == {"1", "4"} else found
            for p, found in zip(pairs, larger(pairs), strict=True)
        ]

    [ruling] = tournament([case_of([1, 2, 3, 4])], compare, Design())
    assert isinstance(ruling, Ruling) and ruling.levels == [3, 2, 1, 0]
    assert (ruling.notes["comparisons"], ruling.notes["unreadable"], ruling.pairs) == (6, 1, 5)
    assert sum(points is None for _, _, points in ruling.notes["outcomes"]) == 1
    [none] = tournament([case_of([1, 4])], compare, Design())
    assert none == NoRuling(
        "0 of 1 comparisons are readable, which do not connect all 2 answers: no [[A]], [[B]] or [[C]] found", ["Well."]
    )


def test_flips_between_the_orders_are_counted() -> None:
    [ruling] = tournament([case_of([1, 2])], lambda pairs: [Comparison((1, -1)) for _ in pairs], Design())
    assert isinstance(ruling, Ruling) and ruling.levels == [0, 0] and (ruling.flips, ruling.pairs) == (1, 1)


def test_a_preference_counts_as_a_part_of_a_win() -> None:
    """Of 1 over 2 and 2 over 3, 0.6 each; of 3 over 1, 0.9: three has 1.3 points, one 0.7, two 1.0."""
    said = {("1", "2"): 0.6, ("2", "3"): 0.6, ("3", "1"): 0.9}

    def compare(pairs: Sequence[Pair]) -> list[Comparison]:
        found = [said.get((p.first, p.second), 1 - said.get((p.second, p.first), 0)) for p in pairs]
        return [Comparison((0, 0), preference=preference) for preference in found]

    [ruling] = tournament([case_of([1, 2, 3])], compare, Design())
    assert isinstance(ruling, Ruling) and ruling.levels == [2, 1, 0] and ruling.notes["cycles"] == 1
    one, two, three = (mark or 0.0 for mark in ruling.marks)
    assert three > 0 and [one, two] == pytest.approx([-three, 0], abs=1e-5)


@pytest.mark.parametrize("pairs", ["all", "swiss", "sorted"])
def test_a_run_that_is_stopped_leaves_its_lists_as_not_asked_and_the_next_goes_on(
    pairs: Literal["all", "swiss", "sorted"],
) -> None:
    stored: dict[tuple[str, str], Comparison] = {}
    cases = [case_of(random.Random(n).sample(range(30), 6), str(n)) for n in range(4)]

    def compare(asked: Sequence[Pair], budget: int) -> list[Comparison]:
        for pair, found in zip(asked, larger(asked), strict=True):
            if len(stored) < budget:
                stored.setdefault((pair.first, pair.second), found)
        waiting = Comparison((None, None), "not asked yet", asked=False)
        return [stored.get((pair.first, pair.second), waiting) for pair in asked]

    whole = tournament(cases, larger, Design(pairs))
    for budget in (0, 9, 25):
        found = tournament(cases, lambda asked, most=budget: compare(asked, most), Design(pairs))  # type: ignore[misc]
        left = [each for each in found if isinstance(each, NoRuling)]
        assert left and all(each == NoRuling("not asked yet", [], asked=False) for each in left)
        assert len(stored) == budget
    assert tournament(cases, lambda asked: compare(asked, 1000), Design(pairs)) == whole
    before = len(stored)
    assert tournament(cases, lambda asked: compare(asked, 0), Design(pairs)) == whole and len(stored) == before


def test_connected() -> None:
    assert connected(4, [Outcome(0, 1, 1, 0, 0), Outcome(2, 3, 1, 0, 0), Outcome(3, 1, 0, 1, 0)])
    assert not connected(4, [Outcome(0, 1, 1, 0, 0), Outcome(2, 3, 1, 0, 0)])
