"""Tasks about a list of words: the argument is the whole list, which is the input."""

from __future__ import annotations

import random
from itertools import pairwise

from tools.english import lexicon
from tools.english.lexicon import a, pick
from tools.english.questions import Question, listed, number, says, task

_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")


def _words(rng: random.Random, grade: int, low: int, high: int) -> list[str]:
    return pick(rng, grade, rng.randint(low, high))


@task
def nth_word(rng: random.Random, grade: int) -> Question:
    """What is the second word of the list? (first, last; second, third; later ones)"""
    words = _words(rng, grade, 3 + grade, 4 + grade)
    names = [["first", "last"], ["second", "third"], ["fourth", "fifth", "second to last"]][grade - 1]
    name = rng.choice(names)
    place = -1 if name == "last" else -2 if " " in name else _ORDINALS.index(name)
    text = ", ".join(words)
    wordings = [f"What is the {name} word of the list?", f"Write the {name} word of this list."]
    return says(f"{name} {text}", grade, wordings, [words[place]], rng, text)


@task
def next_word(rng: random.Random, grade: int) -> Question:
    """Which word comes after hen in the list?"""
    words = _words(rng, grade, 2 + grade, 4 + grade)
    at, step, side = rng.choice([(0, 1, "right after"), (1, -1, "right before")])
    place = rng.randrange(at, len(words) - 1 + at)
    text = ", ".join(words)
    wordings = [f'Which word comes {side} "{words[place]}" in the list?', f"Write the word {side} {words[place]}."]
    return says(f"{side} {place} {text}", grade, wordings, [words[place + step]], rng, text)


@task
def count_words(rng: random.Random, grade: int) -> Question:
    """How many words are in the list?"""
    words = _words(rng, grade, *[(2, 4), (4, 6), (7, 10)][grade - 1])
    text = ", ".join(words)
    wordings = ["How many words are in the list?", "Count the words of the list."]
    return number(text, grade, wordings, len(words), rng, text)


@task
def alphabet(rng: random.Random, grade: int) -> Question:
    """Which word comes first in the alphabet? (two words; three or four; the last, with letters in common)"""
    while True:
        words = _words(rng, grade, *[(2, 2), (3, 4), (4, 5)][grade - 1])
        if grade == 3 or len({word[0] for word in words}) == len(words):
            break
    name = rng.choice(["first", "last"]) if grade > 1 else "first"
    text = ", ".join(words)
    wordings = [
        f"Which of the words comes {name} in the alphabet?",
        f"Write the word that is {name} in alphabetical order.",
    ]
    return says(f"{name} {text}", grade, wordings, [min(words) if name == "first" else max(words)], rng, text)


@task
def sort_words(rng: random.Random, grade: int) -> Question:
    """Put the words in alphabetical order."""
    while True:
        words = _words(rng, grade, 1 + grade, 1 + grade)
        if words != sorted(words) or grade == 1:
            break
    text = ", ".join(words)
    wordings = ["Put the words in alphabetical order.", "Sort these words alphabetically."]
    return listed(text, grade, wordings, sorted(words), rng, text, "sequence")


@task
def reverse(rng: random.Random, grade: int) -> Question:
    """Write the list backwards."""
    words = pick(rng, grade, 1 + grade)
    text = ", ".join(words)
    wordings = ["Write the list backwards, from the last word to the first.", "Reverse the order of these words."]
    return listed(text, grade, wordings, words[::-1], rng, text, "sequence")


@task
def longest(rng: random.Random, grade: int) -> Question:
    """Which word is the longest? The shortest?"""
    while True:
        words = _words(rng, grade, 1 + grade, 2 + grade)
        name = rng.choice(["longest", "shortest"])
        ranked = sorted(words, key=len, reverse=name == "longest")
        if abs(len(ranked[0]) - len(ranked[1])) >= 4 - grade:
            break
    text = ", ".join(words)
    wordings = [
        f"Which word has the {['fewest', 'most'][name == 'longest']} letters?",
        f"Write the {name} word of the list.",
    ]
    return says(f"{name} {text}", grade, wordings, [ranked[0]], rng, text)


@task
def twice(rng: random.Random, grade: int) -> Question:
    """Which word stands twice in the list?"""
    words = _words(rng, grade, 2 * grade, 2 * grade + 1)
    double = rng.choice(words)
    words.insert(rng.randrange(len(words)), double)
    text = ", ".join(words)
    wordings = ["Which word stands twice in the list?", "One word of the list is repeated. Which one?"]
    return says(text, grade, wordings, [double], rng, text)


def _mixed(rng: random.Random, grade: int, inside: int, outside: int) -> tuple[str, list[str], list[str]]:
    """A category, some of its words, and a shuffled list of these and of words that are in none of its categories."""
    while True:
        name = rng.choice(list(lexicon.categories()))
        category = lexicon.categories()[name]
        known = category.words[: max(inside, len(category.words) * grade // 3)]
        if len(known) >= inside:
            break
    chosen = rng.sample(known, inside)
    around = set().union(*map(lexicon.of, category.words))
    far = [
        word
        for other in lexicon.categories().values()
        for word in lexicon.graded(other.words, 1)
        if not lexicon.of(word) & around
    ]
    words = chosen + rng.sample(sorted({*far}), outside)
    rng.shuffle(words)
    return name, chosen, words


@task
def find_kind(rng: random.Random, grade: int) -> Question:
    """Which word is an animal?"""
    name, chosen, words = _mixed(rng, grade, 1, 1 + grade)
    text = ", ".join(words)
    wordings = [f"Which of these is {a(name)}?", f"Find the word of the list that is {a(name)}."]
    return says(f"{name} {text}", grade, wordings, chosen, rng, text)


@task
def all_of_kind(rng: random.Random, grade: int) -> Question:
    """Which of these are animals?"""
    name, chosen, words = _mixed(rng, grade, 1 + (grade > 1), 1 + grade)
    if grade == 1:
        name, chosen, words = _mixed(rng, grade, 2, 1)
    text, plural = ", ".join(words), lexicon.categories()[name].plural
    wordings = [f"Which of these are {plural}? List them.", f"Write down all the {plural} of the list."]
    return listed(f"{name} {text}", grade, wordings, [word for word in words if word in chosen], rng, text)


@task
def count_kind(rng: random.Random, grade: int) -> Question:
    """How many of these are animals?"""
    inside = rng.randint(1, 1 + grade)
    name, _, words = _mixed(rng, grade, inside, rng.randint(1, grade + 1))
    text, plural = ", ".join(words), lexicon.categories()[name].plural
    wordings = [f"How many of these are {plural}?", f"Count the {plural} of the list."]
    return number(f"{name} {text}", grade, wordings, inside, rng, text)


@task
def odd_one_out(rng: random.Random, grade: int) -> Question:
    """Which word does not belong with the others?"""
    _, chosen, words = _mixed(rng, grade, 1 + grade, 1)
    if grade == 1:
        _, chosen, words = _mixed(rng, grade, 3, 1)
    odd = next(word for word in words if word not in chosen)
    text = ", ".join(words)
    wordings = ["Which word does not belong with the others?", "Which word is the odd one out?"]
    return says(text, grade, wordings, [odd], rng, text)


@task
def sort_sizes(rng: random.Random, grade: int) -> Question:
    """Sort the things by size, from small to big."""
    things, tiers = lexicon.sizes(), sorted(set(lexicon.sizes().values()))
    gap, count = [(4, 2), (3, 3), (2, 4)][grade - 1]
    while True:
        chosen = sorted(rng.sample(tiers, count))
        if all(right - left >= gap for left, right in pairwise(chosen)):
            break
    ranked = [rng.choice([thing for thing, tier in things.items() if tier == wanted]) for wanted in chosen]
    way, ordered = rng.choice(
        [("from the smallest to the biggest", ranked), ("from the biggest to the smallest", ranked[::-1])]
    )
    text = ", ".join(rng.sample(ranked, count))
    wordings = [f"Sort these things by size, {way}.", f"Put the things in order, {way}."]
    return listed(f"{way} {text}", grade, wordings, ordered, rng, text, "sequence")


@task
def bigger(rng: random.Random, grade: int) -> Question:
    """Which is bigger, a mouse or a cow?"""
    things = lexicon.sizes()
    while True:
        pair = rng.sample(sorted(things), 2)
        if abs(things[pair[0]] - things[pair[1]]) == (7 - 2 * grade if grade > 1 else rng.randint(5, 8)):
            break
    small, big = sorted(pair, key=things.__getitem__)
    name, answer = rng.choice([("bigger", big), ("smaller", small)])
    wordings = [
        f"Which is {name}, {a(pair[0])} or {a(pair[1])}?",
        f"{a(pair[0]).capitalize()} and {a(pair[1])}: which of the two is {name}?",
    ]
    return says(f"{name} {small} {big}", grade, wordings, [answer], rng)
