"""Tasks about one word or one fact."""

from __future__ import annotations

import random

from tools.english import lexicon
from tools.english.lexicon import a, pick
from tools.english.questions import Question, number, says, task


def _opposites() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for grade in (1, 2, 3):
        for left, (right, *_) in lexicon.pairs("opposites", grade):
            found.setdefault(left, []).append(right)
            found.setdefault(right, []).append(left)
    return found


@task
def opposite(rng: random.Random, grade: int) -> Question:
    """What is the opposite of hot?"""
    left, (right, *_) = rng.choice(lexicon.pairs("opposites", grade))
    word, answer = rng.sample([left, right], 2)
    others = [other for other in _opposites()[word] if other != answer]
    wordings = [
        f'What is the opposite of "{word}"?',
        f"Give the opposite of the word {word}.",
        f"What is the antonym of {word}?",
    ]
    return says(f"{left} {right}", grade, wordings, [answer, *others], rng)


@task
def plural(rng: random.Random, grade: int) -> Question:
    """What is the plural of fox? (regular; -es and -ies; irregular or rare)"""
    while True:
        word = rng.choice([word for level in lexicon.nouns() for word in level])
        right = lexicon.plurals(word)
        if right and grade == (
            1 if right[0] == word + "s" else 2 if right[0].endswith("es") and word[-2:] != "fe" else 3
        ):
            break
    wordings = [
        f'What is the plural of "{word}"?',
        f"Write the plural form of the noun {word}.",
        f"One {word}, two ...? Give the missing word.",
    ]
    return says(word, grade, wordings, right, rng)


@task
def past(rng: random.Random, grade: int) -> Question:
    """What is the past tense of go?"""
    word, right = rng.choice(lexicon.pairs("verbs", grade))
    wordings = [
        f'What is the past tense of "{word}"?',
        f"Write the simple past of the verb {word}.",
        f"Today I {word}. Yesterday I ...? Give the missing word.",
    ]
    return says(word, grade, wordings, right, rng)


@task
def comparative(rng: random.Random, grade: int) -> Question:
    """What is the comparative of big?"""
    word, right = rng.choice(lexicon.pairs("comparatives", grade))
    wordings = [f'What is the comparative form of "{word}"?', f"Write the comparative of the adjective {word}."]
    return says(word, grade, wordings, right, rng)


@task
def rhyme(rng: random.Random, grade: int) -> Question:
    """Give a word that rhymes with cat."""
    families = sorted((line.split() for line in lexicon.section("words.txt", "rhymes")), key=len, reverse=True)
    word = rng.choice(rng.choice(lexicon.graded(families, grade)))
    right = {other for family in families if word in family for other in family} - {word}
    wordings = [
        f'Give a word that rhymes with "{word}".',
        f"Which word rhymes with {word}? Name one.",
        f"Say one word that rhymes with {word}.",
    ]
    return says(word, grade, wordings, rng.sample(sorted(right), len(right)), rng)


@task
def letter(rng: random.Random, grade: int) -> Question:
    """What is the first letter of fox? (first; last; second, third, last but one)"""
    word = rng.choice([word for word in pick(rng, 3, 40) if len(word) > 4])
    place, name = rng.choice(
        [[(0, "first")], [(-1, "last"), (1, "second")], [(2, "third"), (-2, "second to last"), (3, "fourth")]][
            grade - 1
        ]
    )
    wordings = [f'What is the {name} letter of "{word}"?', f"Give the {name} letter of the word {word}."]
    return says(f"{name} {word}", grade, wordings, [word[place]], rng)


@task
def spell(rng: random.Random, grade: int) -> Question:
    """Spell the word fox, letter by letter."""
    lengths = [(3, 4), (5, 6), (7, 9)][grade - 1]
    word = rng.choice([word for word in pick(rng, 3, 150) if lengths[0] <= len(word) <= lengths[1]])
    wordings = [
        f"Spell the word {word}, with a hyphen between the letters.",
        f'Write the letters of "{word}" one by one, parted by hyphens.',
    ]
    return Question(word, grade, rng.choice(wordings), "-".join(word), "sequence", tuple(word))


@task
def word_length(rng: random.Random, grade: int) -> Question:
    """How many letters has fox?"""
    lengths = [(3, 4), (5, 6), (7, 9)][grade - 1]
    word = rng.choice([word for word in pick(rng, 3, 150) if lengths[0] <= len(word) <= lengths[1]])
    wordings = [f'How many letters are in the word "{word}"?', f"Count the letters of the word {word}."]
    return number(word, grade, wordings, len(word), rng)


@task
def kind(rng: random.Random, grade: int) -> Question:
    """What kind of thing is a fox? Choose from three."""
    name = rng.choice([name for name, category in lexicon.categories().items() if category.words[0].islower()])
    category = lexicon.categories()[name]
    word = rng.choice(lexicon.graded(category.words, grade))
    others = [other for other in lexicon.categories() if other not in lexicon.of(word)]
    choices = [name, *rng.sample(others, 1 + grade)]
    rng.shuffle(choices)
    asked = ", ".join(map(a, choices[:-1])) + f" or {a(choices[-1])}"
    wordings = [f'Is "{word}" {asked}?', f"What is the word {word} a name for: {asked}?"]
    return says(word, grade, wordings, [name], rng)


@task
def color(rng: random.Random, grade: int) -> Question:
    """What color is a banana?"""
    thing, right = rng.choice(lexicon.graded(lexicon.facts("colors"), grade))
    wordings = [
        f"What color is this: {thing}?",
        f"Name the usual color of this: {thing}.",
        f"Which color do you think of first: {thing}?",
    ]
    return says(thing, grade, wordings, right, rng)


@task
def capital(rng: random.Random, grade: int) -> Question:
    """What is the capital of France?"""
    country = rng.choice(lexicon.graded(lexicon.countries(), grade))
    wordings = [f"What is the capital of {country.name}?", f"Name the capital city of {country.name}."]
    return says(country.name, grade, wordings, country.capitals, rng)


@task
def country(rng: random.Random, grade: int) -> Question:
    """Of which country is Paris the capital?"""
    found = rng.choice(lexicon.graded(lexicon.countries(), grade))
    city = found.capitals[0]
    wordings = [f"Of which country is {city} the capital?", f"{city} is the capital of which country?"]
    return says(found.name, grade, wordings, [found.name], rng)


@task
def continent(rng: random.Random, grade: int) -> Question:
    """On which continent is France?"""
    found = rng.choice(lexicon.graded(lexicon.countries(), grade))
    wordings = [f"On which continent is {found.name}?", f"Which continent does {found.name} belong to?"]
    return says(found.name, grade, wordings, found.continents, rng)


@task
def language(rng: random.Random, grade: int) -> Question:
    """Which language do most people speak in Brazil?"""
    found = rng.choice(lexicon.graded([country for country in lexicon.countries() if country.languages], grade))
    wordings = [f"Which language do most people speak in {found.name}?", f"What is the main language of {found.name}?"]
    return says(found.name, grade, wordings, found.languages, rng)


@task
def young(rng: random.Random, grade: int) -> Question:
    """What is a young dog called?"""
    animal, right = rng.choice(lexicon.graded(lexicon.facts("young"), grade))
    wordings = [
        f"What is a young {animal} called?",
        f"Give the name for the young of {a(animal)}.",
        f"What do you call a baby {animal}?",
    ]
    return says(animal, grade, wordings, right, rng)


@task
def job(rng: random.Random, grade: int) -> Question:
    """Who flies an airplane?"""
    what, right = rng.choice(lexicon.graded(lexicon.facts("jobs"), grade))
    wordings = [
        f"What is the job of a person who {what}?",
        f"What do you call someone who {what}?",
        f"Who {what}? Name the job.",
    ]
    return says(what, grade, wordings, right, rng)


@task
def tool(rng: random.Random, grade: int) -> Question:
    """What do you use to cut paper?"""
    what, right = rng.choice(lexicon.graded(lexicon.facts("tools"), grade))
    wordings = [f"What do you use to {what}?", f"Name a thing that people use to {what}."]
    return says(what, grade, wordings, right, rng)


@task
def place(rng: random.Random, grade: int) -> Question:
    """Where do you go to borrow books?"""
    what, right = rng.choice(lexicon.graded(lexicon.facts("places"), grade))
    wordings = [f"Where can you {what}? Name the place.", f"In which place do people {what}?"]
    return says(what, grade, wordings, right, rng)


@task
def how_many(rng: random.Random, grade: int) -> Question:
    """How many legs has a spider?"""
    asked, (right, *_) = rng.choice(lexicon.graded(lexicon.facts("counts"), grade))
    part, whole = asked.split("|")
    of = f"the {whole}" if part in ("colors", "continents", "planets", "letters", "states") else a(whole)
    wordings = [f"How many {part} does {of} have?", f"Tell me the number of {part} of {of}."]
    return number(asked, grade, wordings, int(right), rng)


@task
def female(rng: random.Random, grade: int) -> Question:
    """What is the female counterpart of king? The male one of queen?"""
    male, (woman, *_) = rng.choice(lexicon.graded(lexicon.pairs("pairs"), grade))
    word, answer, which = rng.choice([(male, woman, "female"), (woman, male, "male")])
    wordings = [f'What is the {which} counterpart of "{word}"?', f"Give the {which} form of the word {word}."]
    return says(f"{male} {woman}", grade, wordings, [answer], rng)


@task
def analogy(rng: random.Random, grade: int) -> Question:
    """Hot is to cold as big is to what?"""
    sources = [
        [(left, right) for left, right in lexicon.pairs("opposites", grade)],
        [(left, right) for left, right in lexicon.graded(lexicon.pairs("verbs", grade), grade)],
        [(country.name, country.capitals) for country in lexicon.graded(lexicon.countries(), grade)],
        [(animal, right) for animal, right in lexicon.graded(lexicon.facts("young"), grade)],
    ]
    source = sources[rng.randrange(4)]
    (first, second), (word, answers) = rng.sample(source, 2)
    if source is sources[0]:
        answers = tuple(dict.fromkeys([*answers, *_opposites()[word]]))
    key = f"{word} {answers[0]}" if source is sources[0] else word
    wordings = [
        f"{first} is to {second[0]} as {word} is to ...? Give the missing word.",
        f"Complete: {first} - {second[0]}, {word} - ...",
    ]
    return says(key, grade, wordings, answers, rng)


_DAYS = lexicon.categories()["day of the week"].words
_MONTHS = lexicon.categories()["month"].words


@task
def calendar(rng: random.Random, grade: int) -> Question:
    """Which day comes two days after Monday?"""
    names, unit = rng.choice([(_DAYS, "day"), (_MONTHS, "month")])
    start, step = rng.randrange(len(names)), [1, 2, 3][grade - 1] + (rng.randrange(3) if grade == 3 else 0)
    sign, side = rng.choice([(1, "after"), (-1, "before")])
    answer = names[(start + sign * step) % len(names)]
    many = unit if step == 1 else unit + "s"
    wordings = [
        f"Which {unit} comes {step} {many} {side} {names[start]}?",
        f"What {unit} is {step} {many} {side} {names[start]}?",
    ]
    return says(f"{side} {step} {names[start]}", grade, wordings, [answer], rng)
