"""Tasks about lists of words and about numbers: the argument is the whole list."""

from __future__ import annotations

import random

from tools.recipe.questions import Question, task
from tools.recipe.world import World, plural_of_kind, with_kind


def pick_words(rng: random.Random, world: World, count: int) -> list[str]:
    """Different words of the world."""
    return [thing.name for thing in rng.sample(world.things, count)]


def question(
    rng: random.Random, name: str, wordings: list[str], words: list[str], answers: list[str], check: str = "one_of"
) -> Question:
    """A question about a list of words: the list is the input and the key."""
    listed = ", ".join(words)
    return Question(name, listed, rng.choice(wordings), listed, ", ".join(answers), check, tuple(answers))


@task
def first_word(rng: random.Random, world: World) -> Question:
    """What is the first word? fox, hen, cup"""
    words = pick_words(rng, world, rng.randint(3, 6))
    return question(rng, "first_word", ["What is the first word?", "Say the first word."], words, words[:1])


@task
def last_word(rng: random.Random, world: World) -> Question:
    """What is the last word? fox, hen, cup"""
    words = pick_words(rng, world, rng.randint(3, 6))
    return question(rng, "last_word", ["What is the last word?", "Say the last word."], words, words[-1:])


@task
def count_words(rng: random.Random, world: World) -> Question:
    """How many words are there? fox, hen, cup"""
    words = pick_words(rng, world, rng.randint(2, 7))
    wordings = ["How many words are there?", "Count the words."]
    return question(rng, "count_words", wordings, words, [str(len(words))])


@task
def alphabet(rng: random.Random, world: World) -> Question:
    """Which word comes first in the alphabet? fox, hen, cup"""
    while True:
        words = pick_words(rng, world, rng.randint(2, 4))
        if len({word[0] for word in words}) == len(words):
            break
    wordings = ["Which word comes first in the alphabet?", "Say the word that comes first in the alphabet."]
    return question(rng, "alphabet", wordings, words, [min(words)])


def mixed(rng: random.Random, world: World, inside: int, outside: int) -> tuple[str, list[str], list[str]]:
    """A kind, some of its words, and a shuffled list of these with words of other kinds."""
    while True:
        kind = rng.choice(world.kinds)
        names = {thing.name for thing in world.of_kind(kind)}
        others = sorted({thing.name for thing in world.things} - names)
        if len(names) >= inside:
            break
    chosen = rng.sample(sorted(names), inside)
    words = chosen + rng.sample(others, outside)
    rng.shuffle(words)
    return kind, chosen, words


@task
def find_kind(rng: random.Random, world: World) -> Question:
    """Which word is an animal? fox, cup, car"""
    kind, chosen, words = mixed(rng, world, 1, rng.randint(2, 4))
    wordings = [f"Which word is {with_kind(kind)}?", f"Find the word that is {with_kind(kind)}."]
    return question(rng, "find_kind", wordings, words, chosen)


@task
def all_of_kind(rng: random.Random, world: World) -> Question:
    """Name all the animals. fox, cup, hen, car"""
    kind, chosen, words = mixed(rng, world, 2, rng.randint(1, 3))
    wordings = [f"Name all the {plural_of_kind(kind)}.", f"Which words are {plural_of_kind(kind)}?"]
    in_order = [word for word in words if word in chosen]
    return question(rng, "all_of_kind", wordings, words, in_order, "all_of")


@task
def odd_one_out(rng: random.Random, world: World) -> Question:
    """Which word is the odd one out? fox, hen, cup, cow"""
    _, chosen, words = mixed(rng, world, 3, 1)
    odd = next(word for word in words if word not in chosen)
    wordings = ["Which word is the odd one out?", "Say the odd one out."]
    return question(rng, "odd_one_out", wordings, words, [odd])


@task
def reverse(rng: random.Random, world: World) -> Question:
    """Say the words backwards. fox, hen, cup"""
    words = pick_words(rng, world, rng.randint(2, 4))
    wordings = ["Say the words backwards.", "Write the list backwards."]
    return question(rng, "reverse", wordings, words, words[::-1], "in_order")


def _numbers(rng: random.Random, count: int) -> list[int]:
    return rng.sample(range(100), count)


@task
def biggest_number(rng: random.Random, world: World) -> Question:
    """Which number is the biggest? 17, 42, 8"""
    numbers = _numbers(rng, rng.randint(2, 4))
    wordings = ["Which number is the biggest?", "Say the biggest number."]
    return question(rng, "biggest_number", wordings, [str(number) for number in numbers], [str(max(numbers))])


@task
def smallest_number(rng: random.Random, world: World) -> Question:
    """Which number is the smallest? 17, 42, 8"""
    numbers = _numbers(rng, rng.randint(2, 4))
    wordings = ["Which number is the smallest?", "Say the smallest number."]
    return question(rng, "smallest_number", wordings, [str(number) for number in numbers], [str(min(numbers))])


@task
def sort_numbers(rng: random.Random, world: World) -> Question:
    """Sort the numbers. 17, 42, 8"""
    numbers = _numbers(rng, 3)
    wordings = ["Sort the numbers.", "Write the numbers in order."]
    answers = [str(number) for number in sorted(numbers)]
    return question(rng, "sort_numbers", wordings, [str(number) for number in numbers], answers, "in_order")


@task
def add(rng: random.Random, world: World) -> Question:
    """What is 3 plus 4?"""
    left, right = rng.randint(0, 20), rng.randint(0, 20)
    wordings = [f"What is {left} plus {right}?", f"Add {left} and {right}."]
    answer = str(left + right)
    key = "-".join(str(number) for number in sorted((left, right)))
    return Question("add", key, rng.choice(wordings), "", answer, "one_of", (answer,))
