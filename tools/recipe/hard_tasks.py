"""Tasks that no quiz of the pretraining text contains: harder ones, and descriptions that are mostly short."""

from __future__ import annotations

import random

from tools.recipe.list_tasks import mixed, pick_words, question
from tools.recipe.questions import Question, task
from tools.recipe.word_tasks import description
from tools.recipe.world import World, plural_of_kind


@task
def last_letter(rng: random.Random, world: World) -> Question:
    """What is the last letter of fox?"""
    word = rng.choice(world.things).name
    wording = rng.choice([f"What is the last letter of {word}?", f"Say the last letter of {word}."])
    return Question("last_letter", word, wording, "", word[-1], "one_of", (word[-1],))


@task
def second_word(rng: random.Random, world: World) -> Question:
    """What is the second word? fox, hen, cup"""
    words = pick_words(rng, world, rng.randint(3, 6))
    return question(rng, "second_word", ["What is the second word?", "Say the second word."], words, [words[1]])


@task
def word_after(rng: random.Random, world: World) -> Question:
    """Which word comes after hen? fox, hen, cup"""
    words = pick_words(rng, world, rng.randint(3, 6))
    place = rng.randrange(len(words) - 1)
    wordings = [f"Which word comes after {words[place]}?", f"Say the word after {words[place]}."]
    return question(rng, "word_after", wordings, words, [words[place + 1]])


@task
def alphabet_last(rng: random.Random, world: World) -> Question:
    """Which word comes last in the alphabet? fox, hen, cup"""
    while True:
        words = pick_words(rng, world, rng.randint(2, 4))
        if len({word[0] for word in words}) == len(words):
            break
    wordings = ["Which word comes last in the alphabet?", "Say the word that comes last in the alphabet."]
    return question(rng, "alphabet_last", wordings, words, [max(words)])


@task
def count_kind(rng: random.Random, world: World) -> Question:
    """How many animals are there? fox, cup, hen"""
    inside = rng.randint(1, 4)
    kind, _, words = mixed(rng, world, inside, rng.randint(1, 3))
    wordings = [f"How many {plural_of_kind(kind)} are there?", f"Count the {plural_of_kind(kind)}."]
    return question(rng, "count_kind", wordings, words, [str(inside)])


@task
def subtract(rng: random.Random, world: World) -> Question:
    """What is 9 minus 4?"""
    left, right = sorted((rng.randint(0, 30), rng.randint(0, 30)), reverse=True)
    wording = rng.choice([f"What is {left} minus {right}?", f"Take {right} from {left}."])
    answer = str(left - right)
    return Question("subtract", f"{left}-{right}", wording, "", answer, "one_of", (answer,))


@task
def describe_briefly(rng: random.Random, world: World) -> Question:
    """Describe a fox. (Open-ended, mostly answered in few words: what ranked answers can improve on.)"""
    return description(rng, world, (40, 22, 14, 10, 8, 6))


@task
def describe_fully(rng: random.Random, world: World) -> Question:
    """Describe a fox. (Open-ended, mostly answered in many details: how the teacher learns to answer.)"""
    return description(rng, world, (3, 7, 14, 22, 27, 27))
