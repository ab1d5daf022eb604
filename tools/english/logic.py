"""Tasks of simple logic: comparisons, yes or no."""

from __future__ import annotations

import random
from itertools import pairwise

from tools.english import lexicon
from tools.english.lexicon import a
from tools.english.numbers import NAMES
from tools.english.questions import Question, says, task

_ORDERS = (("taller", "tallest", "shortest"), ("older", "oldest", "youngest"), ("faster", "fastest", "slowest"),
           ("richer", "richest", "poorest"), ("stronger", "strongest", "weakest"))  # fmt: skip


@task
def ranking(rng: random.Random, grade: int) -> Question:
    """Tom is taller than Anna. Anna is taller than Ben. Who is the tallest?"""
    people = rng.sample(NAMES, 1 + grade)
    more, most, least = rng.choice(_ORDERS)
    facts = [f"{left} is {more} than {right}." for left, right in pairwise(people)]
    if grade > 1:
        rng.shuffle(facts)
    name, answer = rng.choice([(most, people[0]), (least, people[-1])])
    text = " ".join(facts)
    wordings = [f"Who is the {name}?", f"Name the {name} person."]
    return says(f"{name} {text}", grade, wordings, [answer], rng, text)


@task
def by_number(rng: random.Random, grade: int) -> Question:
    """Tom has 12 apples and Anna has 9. Who has more?"""
    people = rng.sample(NAMES, 1 + grade)
    counts = rng.sample(range(2, [20, 100, 1000][grade - 1]), 1 + grade)
    what = rng.choice(["points", "dollars", "books", "coins", "stamps"])
    text = " ".join(f"{person} has {count} {what}." for person, count in zip(people, counts, strict=True))
    most, fewest = ("more", "fewer") if grade == 1 else ("the most", "the fewest")
    name, best = rng.choice([(most, max(counts)), (fewest, min(counts))])
    wordings = [f"Who has {name} {what}?", f"Name the person who has {name} {what}."]
    return says(f"{name} {text}", grade, wordings, [people[counts.index(best)]], rng, text)


@task
def membership(rng: random.Random, grade: int) -> Question:
    """Is a rose a flower? Answer yes or no."""
    named = {name: category for name, category in lexicon.categories().items() if category.words[0].islower()}
    category = named[rng.choice(list(named))]
    word = rng.choice(lexicon.graded(category.words, grade))
    asked, answer = category.name, "yes"
    if rng.random() < 0.5:
        asked, answer = rng.choice([name for name in named if name not in lexicon.of(word)]), "no"
    said = word if not lexicon.plurals(word) else a(word)
    wordings = [f"Is {said} {a(asked)}? Answer yes or no.", f"Yes or no: {said} is {a(asked)}."]
    return says(f"{word} {asked}", grade, wordings, [answer], rng)


@task
def syllogism(rng: random.Random, grade: int) -> Question:
    """All cats are animals. Tom is a cat. Is Tom an animal? (real words; made-up ones; a step more)"""
    made_up = [
        "".join(rng.choice(["bl", "gr", "z", "d", "f", "n", "pl", "w"]) + rng.choice("aeiou") for _ in range(2))
        + rng.choice("bgkmp")
        for _ in range(4)
    ]
    real = rng.sample([word for word in lexicon.words(1) if lexicon.plurals(word)], 4)
    kinds = real if grade == 1 else made_up
    name = rng.choice(NAMES)
    steps = 1 if grade < 3 else 2
    facts = [f"All {_many(left)} are {_many(right)}." for left, right in pairwise(kinds[: steps + 1])]
    answer = rng.choice(["yes", "no"])
    if answer == "no":
        facts[-1] = facts[-1].replace("All ", "No ")
    text = " ".join([*facts, f"{name} is {a(kinds[0])}."])
    asked = f"Is {name} {a(kinds[steps])}?"
    return says(text, grade, [f"{asked} Answer yes or no.", f"{asked} Say yes or no."], [answer], rng, text)


def _many(word: str) -> str:
    return (lexicon.plurals(word) or (word + "s",))[0]


@task
def compare_numbers(rng: random.Random, grade: int) -> Question:
    """Is 17 greater than 42? Answer yes or no."""
    left, right = rng.sample(range(1, [30, 100, 10000][grade - 1]), 2)
    name, true = rng.choice([("greater", left > right), ("less", left < right)])
    wordings = [f"Is {left} {name} than {right}? Answer yes or no.", f"Yes or no: {left} is {name} than {right}."]
    return says(f"{left} {right}", grade, wordings, ["yes" if true else "no"], rng)


@task
def place_in_row(rng: random.Random, grade: int) -> Question:
    """The cup is to the left of the key. The key is left of the book. What is in the middle?"""
    things = rng.sample([word for word in lexicon.words(1) if lexicon.plurals(word)], 1 + grade)
    facts = [f"The {left} is to the left of the {right}." for left, right in pairwise(things)]
    if grade == 3:
        facts = [facts[2], f"The {things[1]} is to the right of the {things[0]}.", facts[1]]
    name, answer = rng.choice([("on the far left", things[0]), ("on the far right", things[-1])])
    text = " ".join(facts)
    wordings = [f"What is {name}?", f"Which thing is {name}?"]
    return says(f"{name} {text}", grade, wordings, [answer], rng, text)
