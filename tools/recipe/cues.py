"""Plain text in which something is asked for and then said: what lies between prose and instructions.

A cue is a pair of texts, the lead and what follows it; only what follows is learnt. Remarks state facts of the whole
world ("You know the opposite of hot: cold."); quizzes are questions of the train part, without the chat template.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from tools.recipe.instructions import QUIZ_TASKS, stream
from tools.recipe.questions import Question
from tools.recipe.world import Thing, World, article, coloured, with_kind

Cue = tuple[str, str]


def _word(rng: random.Random, world: World) -> Cue:
    choice = rng.randrange(4)
    if choice == 0:
        word = rng.choice(list(world.opposites))
        return f"the opposite of {word}", world.opposites[word]
    if choice == 1:
        verb = rng.choice(list(world.past))
        return f"the past of {verb}", world.past[verb]
    if choice == 2:
        word = rng.choice(rng.choice(world.rhymes))
        right = sorted({other for family in world.rhymes if word in family for other in family} - {word})
        return f"a word that rhymes with {word}", rng.choice(right)
    left, right_number = rng.randint(0, 20), rng.randint(0, 20)
    return f"{left} plus {right_number}", str(left + right_number)


def _thing(thing: Thing, rng: random.Random, world: World) -> Cue:
    name = article(thing.name)
    alike = [other.name for other in world.of_kind(thing.kind) if other.name[0] == thing.name[0]]
    cues = [
        (f"the plural of {thing.name}", thing.plural),
        (f"the plural of {thing.name}", thing.plural),
        (f"the first letter of {thing.name}", thing.name[0]),
        (f"the letters of {thing.name}", " ".join(thing.name)),
        (f"how to spell {thing.name}", " ".join(thing.name)),
        (f"what kind of thing {name} is", with_kind(thing.kind)),
        (f"{with_kind(thing.kind)} that starts with {thing.name[0]}", rng.choice(alike)),
    ]
    if thing.colours:
        shade = rng.choice(thing.colours)
        same = [other.name for other in world.of_kind(thing.kind) if shade in other.colours]
        cues += [(f"the colour of {name}", shade), (coloured(shade, thing.kind), rng.choice(same))]
    if thing.place:
        cues.append((f"where you find {name}", f"in the {thing.place}"))
    return rng.choice(cues)


def remark(rng: random.Random, world: World) -> Cue:
    """A fact in which the answer stands apart from what it is about.

    >>> from tools.recipe.world import load_world
    >>> len(remark(random.Random(0), load_world()))
    2
    """
    asked, said = _word(rng, world) if rng.random() < 0.4 else _thing(rng.choice(world.things), rng, world)
    frames = [
        (f"You know {asked}:", f"{said}."),
        (f"I know {asked}. It is", f"{said}."),
        (f"The teacher asked for {asked}.", said),
        (f"The teacher asked for {asked}.\nanswer:", said),
    ]
    return rng.choice(frames)


def quiz(question: Question, rng: random.Random) -> Cue:
    """A question and its answer as plain text, without the chat template."""
    asked = question.instruction + (f"\n{question.input}" if question.input else "")
    return rng.choice([f"question: {asked}\nanswer:", f"{asked}\nanswer:", f"{asked}\n"]), question.output


def cues(world: World, seed: int, count: int) -> Iterator[Cue]:
    """Remarks and quizzes of the train part in turn."""
    rng = random.Random(seed)
    for question in stream(world, seed + 1, count // 2, QUIZ_TASKS):
        yield remark(rng, world)
        yield quiz(question, rng)
