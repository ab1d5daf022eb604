"""The tasks: their answers satisfy the checker, both parts can be asked, a seed decides everything."""

from __future__ import annotations

import random

import pytest

from tools.recipe.instructions import ASKED_TASKS, TAUGHT_TASKS, make_part
from tools.recipe.questions import TASKS, ask
from tools.recipe.world import load_world
from tuna.assets.checker import is_checkable, mark

WORLD = load_world()
assert {*ASKED_TASKS, *TAUGHT_TASKS} <= set(TASKS)


@pytest.mark.parametrize("name", sorted(TASKS))
@pytest.mark.parametrize("held_out", [False, True])
def test_original_answers_are_right(name: str, held_out: bool) -> None:
    rng = random.Random(0)
    for _ in range(40):
        question = ask(rng, WORLD, name, held_out)
        record = question.record("x")
        points = mark(record, question.output)
        assert question.held_out == held_out
        assert points == 1.0 if is_checkable(record) else points > 0
        assert question.task == name.removesuffix("_briefly").removesuffix("_fully")


@pytest.mark.parametrize("name", sorted(TASKS))
def test_every_wrong_answer_is_refused(name: str) -> None:
    record = ask(random.Random(0), WORLD, name, False).record("x")
    assert mark(record, "a purple tower of nothing") == 0.0


def test_a_part_is_decided_by_its_seed() -> None:
    assert make_part(WORLD, 1, True, 3, 5) == make_part(WORLD, 1, True, 3, 5)
    assert make_part(WORLD, 1, True, 3, 5) != make_part(WORLD, 2, True, 3, 5)
