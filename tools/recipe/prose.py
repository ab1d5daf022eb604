"""Plain text about the little world for pretraining: facts and skills as statements, never as questions."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from tools.recipe.word_tasks import sentences
from tools.recipe.world import SIZES, Thing, World, article, coloured, plural_of_kind, with_kind

Writer = Callable[[random.Random, World], str]


def _and(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def story(rng: random.Random, world: World) -> str:
    """All or some of the facts about one thing."""
    thing = rng.choice(world.things)
    facts = list(thing.facts[1:])
    rng.shuffle(facts)
    facts = [thing.facts[0], *facts] if rng.random() < 0.7 else [*facts[:2], thing.facts[0], *facts[2:]]
    return sentences(thing, facts[: rng.randint(2, len(facts))])


def _letters(word: str, rng: random.Random) -> str:
    forms = [
        f"The first letter of {word} is {word[0]}.",
        f"The letters of {word} are {' '.join(word)}.",
        f"The word {word} starts with {word[0]} and ends with {word[-1]}.",
        f"You spell {word} so: {' '.join(word)}.",
    ]
    return rng.choice(forms)


def _about(thing: Thing, rng: random.Random, world: World) -> str:
    name = article(thing.name)
    forms = [
        f"The plural of {thing.name} is {thing.plural}.",
        f"One {thing.name}, two {thing.plural}.",
        _letters(thing.name, rng),
        _letters(thing.name, rng),
        f"The kind of thing that {name} is: {with_kind(thing.kind)}.",
    ]
    alike = [other.name for other in world.of_kind(thing.kind) if other.name[0] == thing.name[0]]
    rng.shuffle(alike)
    forms.append(f"{with_kind(thing.kind).capitalize()} that starts with {thing.name[0]}: {thing.name}.")
    forms.append(f"Words for {plural_of_kind(thing.kind)} with {thing.name[0]}: {_and(alike)}.")
    if thing.colours:
        shade = rng.choice(thing.colours)
        forms.append(f"The colour of {name} is {shade}.")
        forms.append(f"The name of {coloured(shade, thing.kind)} is {thing.name}.")
    if thing.place:
        forms.append(f"You can find {name} in the {thing.place}.")
    if thing.size and thing.kind != "place":
        forms.extend([_sizes(thing, rng, world)] * 2)
    return rng.choice(forms)


def _sizes(thing: Thing, rng: random.Random, world: World) -> str:
    others = [other for other in world.things if other.size and other.size != thing.size and other.kind != "place"]
    other = rng.choice(others)
    bigger = SIZES.index(str(thing.size)) > SIZES.index(str(other.size))
    left, right = (thing, other) if rng.random() < 0.5 else (other, thing)
    winner = thing if bigger else other
    said = f"{article(left.name)} or {article(right.name)}"
    return f"The size of {article(thing.name)} is {thing.size}. Of {said}, the bigger is {article(winner.name)}."


def thing_notes(rng: random.Random, world: World) -> str:
    """Two or three single statements about things."""
    return " ".join(_about(rng.choice(world.things), rng, world) for _ in range(rng.randint(2, 3)))


def word_notes(rng: random.Random, world: World) -> str:
    """Opposites, past forms and rhymes."""
    said = []
    for _ in range(rng.randint(2, 3)):
        choice = rng.randrange(3)
        if choice == 0:
            word = rng.choice(list(world.opposites))
            said.append(f"The opposite of {word} is {world.opposites[word]}.")
        elif choice == 1:
            verb = rng.choice(list(world.past))
            said.append(f"The past of {verb} is {world.past[verb]}.")
        else:
            family = rng.choice(world.rhymes)
            left, right = rng.sample(family, 2)
            said.append(rng.choice([f"{left} rhymes with {right}.", f"A word that rhymes with {left} is {right}."]))
    return " ".join(said)


def word_lists(rng: random.Random, world: World) -> str:
    """A list of words and true statements about it."""
    kind = rng.choice(world.kinds)
    inside = [thing.name for thing in world.of_kind(kind)]
    outside = [thing.name for thing in world.things if thing.name not in inside]
    chosen = rng.sample(inside, rng.choice((1, 2, 2, 3)))
    words = chosen + rng.sample(outside, rng.randint(1, 3))
    rng.shuffle(words)
    count = len(words)
    found = [word for word in words if word in chosen]
    said = [f"The first word is {words[0]}.", f"The last word is {words[-1]}.", f"There are {count} words."]
    said.append(f"The word that is {with_kind(kind)}: {found[0]}." if len(found) == 1 else "")
    verb = "are" if plural_of_kind(kind) != kind else "is"
    said.append(f"The {plural_of_kind(kind)} {verb} {', '.join(found)}." if len(found) > 1 else "")
    said.append(f"The odd one out is {(set(words) - set(chosen)).pop()}." if count == len(chosen) + 1 > 3 else "")
    said.append(f"The list backwards is {', '.join(words[::-1])}." if count < 5 else "")
    if len({word[0] for word in words}) == count < 5:
        said.extend([f"The word that comes first in the alphabet is {min(words)}."] * 2)
    said = [sentence for sentence in dict.fromkeys(said) if sentence]
    rng.shuffle(said)
    return f"{', '.join(words)}\n" + " ".join(said[:4])


def number_lists(rng: random.Random, world: World) -> str:
    """A list of numbers and true statements about it."""
    numbers = rng.sample(range(100), rng.randint(2, 4))
    said = [f"The biggest number is {max(numbers)}.", f"The smallest number is {min(numbers)}."]
    said.append(f"The numbers in order are {', '.join(str(number) for number in sorted(numbers))}.")
    rng.shuffle(said)
    return f"{', '.join(str(number) for number in numbers)}\n" + " ".join(said)


def sums(rng: random.Random, world: World) -> str:
    """Sums of two small numbers, and counting."""
    said = []
    for _ in range(3):
        left, right = rng.randint(0, 20), rng.randint(0, 20)
        said.append(f"{left} plus {right} is {left + right}.")
    if rng.random() < 0.2:
        start = rng.randint(0, 92)
        said = [", ".join(str(number) for number in range(start, start + 8)) + "."]
    return " ".join(said)


WRITERS: dict[Writer, float] = {
    story: 0.2,
    thing_notes: 0.24,
    word_notes: 0.08,
    word_lists: 0.28,
    number_lists: 0.1,
    sums: 0.1,
}


def documents(seed: int, world: World) -> Iterator[str]:
    """An endless stream of short documents.

    >>> from tools.recipe.world import load_world
    >>> next(documents(0, load_world())) == next(documents(0, load_world()))
    True
    """
    rng = random.Random(seed)
    writers, weights = list(WRITERS), list(WRITERS.values())
    while True:
        yield rng.choices(writers, weights)[0](rng, world)
