"""Preferences that no model has to write: answers with slips in them, and stories with false facts."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence

from tools.recipe.instructions import TAUGHT_TASKS, stream
from tools.recipe.questions import Question
from tools.recipe.word_tasks import sentences
from tools.recipe.world import Thing, World
from tuna.assets.checker import mark

TEXTS = 4


def _false(thing: Thing, rng: random.Random, world: World) -> str:
    """A fact that is not true of a thing, mostly one that fits its kind."""
    others = world.of_kind(thing.kind) if rng.random() < 0.8 else world.things
    return rng.choice(sorted({fact for other in others for fact in other.facts} - set(thing.facts)))


def _told(thing: Thing, rng: random.Random, world: World) -> list[str]:
    """Some facts of a thing, some of them false."""
    share = 0.7 * rng.random()
    facts = rng.sample(thing.facts, rng.randint(1, len(thing.facts)))
    return [_false(thing, rng, world) if rng.random() < share else fact for fact in facts]


def stories(world: World, seed: int, count: int) -> Iterator[tuple[tuple[str, ...], tuple[float, ...]]]:
    """Plain texts about one thing, with true facts less false ones as their marks.

    >>> from tools.recipe.world import load_world
    >>> texts, marks = next(stories(load_world(), 0, 1))
    >>> len(texts) == len(marks)
    True
    """
    rng = random.Random(seed)
    for _ in range(count):
        thing = rng.choice(world.things)
        told = {}
        for _ in range(TEXTS):
            facts = _told(thing, rng, world)
            true = len(set(facts) & set(thing.facts))
            told[sentences(thing, facts)] = float(true - (len(facts) - true))
        yield tuple(told), tuple(told.values())


def _slipped(question: Question, rng: random.Random, world: World, others: Sequence[Question]) -> str:
    """An answer in which something may have gone wrong."""
    words = question.output.replace(",", "").split()
    choice = rng.random()
    if choice < 0.35 and question.input:
        given = question.input.replace(",", " ").split()
        wanted = max(1, len(words) + rng.choice((-1, 0, 0, 0, 0, 1)))
        return ", ".join(rng.sample(given, min(wanted, len(given))))
    if choice < 0.55 and len(words) > 1:
        left, right = rng.randrange(len(words)), rng.randrange(len(words))
        if rng.random() < 0.4:
            words[left], words[right] = words[right], words[left]
        elif rng.random() < 0.5:
            words.pop(left)
        else:
            words.insert(left, words[right])
        return (", " if "," in question.output else " ").join(words)
    if choice < 0.75 and question.output.isdigit():
        return str(max(0, int(question.output) + rng.choice((-10, -3, -2, -1, 1, 2, 3, 10))))
    if choice < 0.85:
        return rng.choice(world.things).name
    return rng.choice(others).output


def slips(world: World, seed: int, count: int) -> Iterator[tuple[Question, tuple[str, ...], tuple[float, ...]]]:
    """Questions of the train part, each with a right answer and slipped ones, marked by the checker."""
    rng = random.Random(seed)
    asked = stream(world, seed + 1, count, TAUGHT_TASKS)
    alike: dict[str, list[Question]] = defaultdict(list)
    for question in asked:
        alike[question.task].append(question)
    things = {thing.name: thing for thing in world.things}
    for question in asked:
        if question.check == "facts":
            thing = things[question.about]
            texts = [sentences(thing, _told(thing, rng, world)) for _ in range(TEXTS)]
        else:
            texts = [question.output, *(_slipped(question, rng, world, alike[question.task]) for _ in range(TEXTS - 1))]
        kept = tuple(dict.fromkeys(text for text in texts if text))
        yield question, kept, tuple(mark(question.record(""), text) for text in kept)
