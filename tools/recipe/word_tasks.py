"""Tasks about single words and things: the argument is a word, so no word is asked about in both parts."""

from __future__ import annotations

import random

from tools.recipe.questions import Question, task
from tools.recipe.world import SIZES, Thing, World, article, coloured, with_kind


def _one(name: str, key: str, wordings: list[str], rng: random.Random, answers: list[str], output: str) -> Question:
    return Question(name, key, rng.choice(wordings), "", output, "one_of", tuple(answers))


@task
def opposite(rng: random.Random, world: World) -> Question:
    """What is the opposite of hot?"""
    word = rng.choice(list(world.opposites))
    answer = world.opposites[word]
    wordings = [f"What is the opposite of {word}?", f"Say the opposite of {word}."]
    return _one("opposite", "-".join(sorted((word, answer))), wordings, rng, [answer], answer)


@task
def plural(rng: random.Random, world: World) -> Question:
    """What is the plural of fox?"""
    thing = rng.choice(world.things)
    wordings = [f"What is the plural of {thing.name}?", f"Write the plural of {thing.name}."]
    return _one("plural", thing.name, wordings, rng, [thing.plural], thing.plural)


@task
def past(rng: random.Random, world: World) -> Question:
    """What is the past of go?"""
    verb = rng.choice(list(world.past))
    wordings = [f"What is the past of {verb}?", f"Write the past of {verb}."]
    return _one("past", verb, wordings, rng, [world.past[verb]], world.past[verb])


@task
def first_letter(rng: random.Random, world: World) -> Question:
    """What is the first letter of fox?"""
    word = rng.choice(world.things).name
    wordings = [f"What is the first letter of {word}?", f"Say the first letter of {word}."]
    return _one("first_letter", word, wordings, rng, [word[0]], word[0])


@task
def spell(rng: random.Random, world: World) -> Question:
    """Spell the word fox."""
    word = rng.choice(world.things).name
    wordings = [f"Spell the word {word}.", f"How do you spell {word}?"]
    letters = " ".join(word)
    return Question("spell", word, rng.choice(wordings), "", letters, "in_order", tuple(word))


@task
def rhyme(rng: random.Random, world: World) -> Question:
    """Say a word that rhymes with cat."""
    word = rng.choice(rng.choice(world.rhymes))
    right = sorted({other for family in world.rhymes if word in family for other in family} - {word})
    wordings = [f"Say a word that rhymes with {word}.", f"What rhymes with {word}?"]
    return _one("rhyme", word, wordings, rng, right, rng.choice(right))


@task
def kind(rng: random.Random, world: World) -> Question:
    """What kind of thing is a fox?"""
    thing = rng.choice(world.things)
    wordings = [f"What kind of thing is {article(thing.name)}?", f"What is {article(thing.name)}?"]
    answers = sorted({other.kind for other in world.things if other.name == thing.name})
    return _one("kind", thing.name, wordings, rng, answers, with_kind(thing.kind))


@task
def colour(rng: random.Random, world: World) -> Question:
    """What colour is a fox?"""
    thing = rng.choice([thing for thing in world.things if thing.colours])
    wordings = [f"What colour is {article(thing.name)}?", f"Say the colour of {article(thing.name)}."]
    return _one("colour", thing.name, wordings, rng, list(thing.colours), rng.choice(thing.colours))


@task
def place(rng: random.Random, world: World) -> Question:
    """Where can you find a fox?"""
    thing = rng.choice([thing for thing in world.things if thing.place])
    wordings = [f"Where can you find {article(thing.name)}?", f"Where is {article(thing.name)}?"]
    return _one("place", thing.name, wordings, rng, [str(thing.place)], f"in the {thing.place}")


@task
def name_by_letter(rng: random.Random, world: World) -> Question:
    """Name an animal that starts with b."""
    thing = rng.choice(world.things)
    letter = thing.name[0]
    right = [other.name for other in world.of_kind(thing.kind) if other.name[0] == letter]
    wordings = [f"Name {with_kind(thing.kind)} that starts with {letter}."]
    wordings.append(f"Say the name of {with_kind(thing.kind)} that starts with {letter}.")
    return _one("name_by_letter", f"{thing.kind} {letter}", wordings, rng, right, rng.choice(right))


@task
def name_by_colour(rng: random.Random, world: World) -> Question:
    """Name a red fruit."""
    thing = rng.choice([thing for thing in world.things if thing.colours])
    shade = rng.choice(thing.colours)
    right = [other.name for other in world.of_kind(thing.kind) if shade in other.colours]
    phrase = coloured(shade, thing.kind)
    wordings = [f"Name {phrase}.", f"Say the name of {phrase}."]
    return _one("name_by_colour", f"{shade} {thing.kind}", wordings, rng, right, rng.choice(right))


@task
def bigger_thing(rng: random.Random, world: World) -> Question:
    """Which is bigger, a mouse or a cow?"""
    ranked = [thing for thing in world.things if thing.size and thing.kind != "place"]
    while True:
        left, right = rng.sample(ranked, 2)
        gap = SIZES.index(str(left.size)) - SIZES.index(str(right.size))
        if gap:
            break
    winner = left if gap > 0 else right
    pair = f"{article(left.name)} or {article(right.name)}"
    wordings = [f"Which is bigger, {pair}?", f"What is bigger, {pair}?"]
    key = "-".join(sorted((left.name, right.name)))
    return _one("bigger_thing", key, wordings, rng, [winner.name], article(winner.name))


def sentences(thing: Thing, facts: list[str]) -> str:
    """Facts about a thing as short sentences: the thing's name first, "It" (or "They") from then on."""
    said = [f"{article(thing.name).capitalize() if index == 0 else 'It'} {fact}." for index, fact in enumerate(facts)]
    return " ".join(said)


def description(rng: random.Random, world: World, weights: tuple[int, ...]) -> Question:
    """An open-ended question; `weights` are those of original answers of one, two, three ... details."""
    thing = rng.choice(world.things)
    name = article(thing.name)
    count = rng.choices(range(1, len(weights) + 1), weights)[0]
    facts = [thing.facts[0], *rng.sample(thing.facts[1:], count - 1)]
    if rng.random() < 0.25:
        facts[0] = rng.choice([fact for fact in thing.facts if fact not in facts])
    wording = rng.choice([f"Describe {name}.", f"Tell me about {name}.", f"What do you know about {name}?"])
    said = sentences(thing, facts)
    return Question("describe", thing.name, wording, "", said, "facts", thing.facts, thing.name)


@task
def describe(rng: random.Random, world: World) -> Question:
    """Describe a fox. (Open-ended, answered in one to four details.)"""
    return description(rng, world, (45, 35, 14, 6))
