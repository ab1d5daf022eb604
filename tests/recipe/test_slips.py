"""Slips: right answers are marked right, slipped ones by the checker, stories by their facts."""

from __future__ import annotations

from tools.recipe.slips import slips, stories
from tools.recipe.world import load_world
from tuna.assets.checker import mark


def test_stories_are_marked_by_true_facts_less_false_ones() -> None:
    things = {thing.name: set(thing.facts) for thing in load_world().things}
    told = list(stories(load_world(), 5, 60))
    for texts, marks in told:
        for text, points in zip(texts, marks, strict=True):
            first, *rest = text.rstrip(".").split(". ")
            _, name, *said = first.split()
            facts = [" ".join(said), *(sentence.removeprefix("It ") for sentence in rest)]
            true = len(set(facts) & things[name])
            assert points == true - (len(facts) - true)
    everything = [points for _, marks in told for points in marks]
    assert min(everything) < 0 < max(everything)


def test_slips_are_of_the_train_part_and_marked_by_the_checker() -> None:
    found = list(slips(load_world(), 6, 300))
    assert len(found) == 300
    for question, texts, marks in found:
        assert not question.held_out
        assert len(texts) == len(set(texts)) == len(marks)
        assert list(marks) == [mark(question.record("x"), text) for text in texts]
        if question.check != "facts":
            assert marks[0] == 1.0 and texts[0] == question.output
    checkable = [marks for question, _, marks in found if question.check != "facts"]
    assert sum(0.0 in marks for marks in checkable) > 0.95 * len(checkable)
