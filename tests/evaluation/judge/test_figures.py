"""The figures of a judge by hand: agreement, ties, length, places, cycles, repeats."""

from types import SimpleNamespace
from typing import Any

import pytest

from tuna.evaluation.judge.figures import Opinion, Reference, card, consistency, of_comparisons, of_ruling
from tuna.judges.base import Comparison, NoRuling, Ruling


def test_agreement_ties_and_missing_verdicts_by_hand() -> None:
    references = [Reference([3, 2, 1], [10, 20, 30]), Reference([1, 0], [5, 5]), Reference([2, 2, 1], [9, 8, 7])]
    opinions = [
        of_ruling(Ruling([0, 1, 1]), 3),  # right, right, tied
        of_ruling(NoRuling("cut"), 2),
        of_ruling(Ruling([1, None, 0]), 3),  # wrong; the other has no verdict, the tied pair does not count
    ]
    found = card(references, opinions, seed=0, cycles=False)
    assert found.by_list == [pytest.approx(2.5 / 3), None, 0.0]
    figures = found.figures
    assert figures["agreement"] == pytest.approx((2.5 / 3 + 0) / 2)
    assert found.intervals["agreement"].lists == 2
    assert figures["ties"] == pytest.approx(1 / 4) and figures["no_verdict"] == pytest.approx(2 / 6)
    assert figures["agreement_shorter_better"] == pytest.approx(2.5 / 3) and figures["agreement_longer_better"] == 0
    assert figures["length_controlled"] == pytest.approx((2.5 / 3 + 0) / 2)
    # Pairs of unequal length with a verdict: the reference prefers the longer in 1 of 4, the judge in half of one.
    assert figures["longer_wins_reference"] == 0.25 and figures["longer_wins"] == pytest.approx(0.5 / 4)
    # Spearman of list one: values 0, -1, -1 against 3, 2, 1; of list three -1.
    assert figures["spearman"] == pytest.approx((0.8660254 - 1) / 2)
    assert figures["flip_rate"] is None and figures["cycles"] is None


def test_length_alone_is_one_half_when_length_is_controlled() -> None:
    references = [Reference([3, 2, 1], [30, 20, 10]), Reference([1, 0], [1, 9])]
    opinions = [of_ruling(Ruling([0, 1, 2]), 3), of_ruling(Ruling([1, 0]), 2)]  # by length
    figures = card(references, opinions, seed=0, cycles=False).figures
    assert figures["longer_wins"] == 1 and figures["longer_wins_reference"] == 0.75
    assert (figures["agreement_longer_better"], figures["agreement_shorter_better"]) == (1, 0)
    assert figures["length_controlled"] == 0.5


def test_places_cycles_and_probabilities_from_pairs() -> None:
    turning = {(0, 1): Comparison((1, 1)), (1, 2): Comparison((1, 1)), (0, 2): Comparison((-1, -1))}
    placed = {(0, 1): Comparison((1, -1)), (1, 2): Comparison((1, 1)), (0, 2): Comparison((1, None), "unread")}
    opinions = [of_comparisons(turning, 3), of_comparisons(placed, 3)]
    assert opinions[0].values == [0.5, 0.5, 0.5]
    assert opinions[1] == Opinion([0.5, 0.75, 0.0], {(0, 1): 0.5, (1, 2): 1.0}, 1, 2, ("unread",))
    figures = card([Reference([3, 2, 1], [1, 1, 1])] * 2, opinions, seed=0, cycles=True).figures
    assert figures["cycles"] == 1.0  # of the one triple whose pairs all have a verdict
    assert figures["flip_rate"] == pytest.approx(1 / 5)
    assert figures["longer_wins"] is None and figures["length_controlled"] is None

    sure: Any = SimpleNamespace(verdicts=(1, -1), outcome="tie", flipped=True, reason="", preference=0.3)
    likely = of_comparisons({(0, 1): sure}, 2)
    assert likely.prefers == {(0, 1): 0.0} and likely.values == [0.3, 0.7] and likely.flips == 1


def test_repeats_are_compared_where_both_have_a_verdict() -> None:
    first = [of_ruling(Ruling([0, 1, 2]), 3), of_ruling(Ruling([0, 0]), 2), of_ruling(NoRuling("cut"), 2)]
    other = [of_ruling(Ruling([0, 2, 1]), 3), of_ruling(Ruling([0, 0]), 2), of_ruling(Ruling([0, 1]), 2)]
    assert consistency(first, other) == (3, 4)


def test_marks_are_values_only_where_all_have_one() -> None:
    assert of_ruling(Ruling([1, 0], [0.2, 0.9]), 2).values == [0.2, 0.9]
    assert of_ruling(Ruling([1, 0, None], [0.2, 0.9, None]), 3).values == [0.2, 0.9, None]
    assert of_ruling(Ruling([1, 0], [None, 9]), 2).values == [-1.0, 0.0]
