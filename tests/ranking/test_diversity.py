"""The diversity rule, by hand."""

import random
from itertools import combinations

from tuna.inference.answers import Answer
from tuna.inference.backend import AnswerSet
from tuna.judges.checker import rouge_l
from tuna.ranking.diversity import DiverseSet


def test_a_passing_set_is_final_after_one_round() -> None:
    few = DiverseSet(3)
    few.offer({k: Answer(text) for k, text in enumerate(("a b", "c d", "e f"))})
    assert few.missing() == [] and [a.text for a in few.finish()] == ["a b", "c d", "e f"]


def test_similar_ones_are_drawn_again_and_later_ones_kept() -> None:
    few = DiverseSet(3)
    few.offer({k: Answer(text) for k, text in enumerate(("a b", "a b", "e f"))})
    assert few.missing() == [(1, 1)]
    few.offer({1: Answer("e f")})  # too similar to the third now
    assert few.missing() == [(1, 2)]
    few.offer({1: Answer("x y")})
    assert few.missing() == [] and [a.text for a in few.finish()] == ["a b", "x y", "e f"]


def test_after_three_trials_the_least_similar_tried_is_kept() -> None:
    few = DiverseSet(2, tau=0.2)
    few.offer({0: Answer("a b c d"), 1: Answer("a b c d")})
    for trial, text in enumerate(("a b c x", "a x y z", "a b x y"), start=1):
        assert few.missing() == [(1, trial)]
        few.offer({1: Answer(text)})
    assert few.missing() == []
    kept = few.finish()[1]
    assert kept.text == "a x y z" and kept.similarity == 0.25


def test_empty_answers_are_like_any_other() -> None:
    few = DiverseSet(2)
    few.offer({0: Answer(""), 1: Answer("a")})
    assert few.missing() == [(0, 1)]


def test_a_set_that_passes_is_never_replaced_by_one_that_does_not() -> None:
    rng = random.Random(0)
    for _ in range(300):
        few = DiverseSet(4, tau=0.6)
        while missing := few.missing():
            few.offer({place: Answer(" ".join(rng.choices("abc", k=3))) for place, _ in missing})
        kept = few.finish()
        assert len(kept) == 4
        forced = [a for a in kept if (a.similarity or 0) >= 0.6]
        good = [a for a in kept if a not in forced]
        assert all(rouge_l(a.text, b.text) < 0.6 for a, b in combinations(good, 2))


def test_without_the_rule_everything_is_kept() -> None:
    few = AnswerSet(2)
    few.offer({0: Answer("a"), 1: Answer("a")})
    assert few.missing() == [] and len(few.finish()) == 2
