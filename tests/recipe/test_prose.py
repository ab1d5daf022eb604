"""The plain text: true, and without a question."""

from __future__ import annotations

import itertools
import random
import re

import pytest

from tools.recipe import prose
from tools.recipe.world import load_world
from tuna.assets.checker import mark

WORLD = load_world()


@pytest.mark.parametrize("writer", list(prose.WRITERS))
def test_no_question_is_in_the_text(writer: prose.Writer) -> None:
    rng = random.Random(0)
    texts = [writer(rng, WORLD) for _ in range(50)]
    assert all(text and "?" not in text and "|" not in text for text in texts)


def test_stories_tell_true_details_only() -> None:
    rng = random.Random(1)
    facts = {thing.name: thing.facts for thing in WORLD.things}
    for _ in range(50):
        text = prose.story(rng, WORLD)
        record = {"check": "facts", "about": text.split()[1], "answers": facts[text.split()[1]]}
        assert mark(record, text) == pytest.approx(min(6, text.count(".")) / 6)


def test_sums_are_right() -> None:
    rng = random.Random(2)
    found = re.findall(r"(\d+) plus (\d+) is (\d+)", " ".join(prose.sums(rng, WORLD) for _ in range(50)))
    assert found and all(int(left) + int(right) == int(total) for left, right, total in found)


def test_documents_are_decided_by_the_seed() -> None:
    first, again, other = (list(itertools.islice(prose.documents(seed, WORLD), 20)) for seed in (0, 0, 1))
    assert first == again != other
