"""The words and facts of the text files beside this module."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

FOLDER = Path(__file__).parent
T = TypeVar("T")


@dataclass(frozen=True)
class Category:
    """A category of nouns: its name, its plural, its words from the best known on, and what it lies within."""

    name: str
    plural: str
    words: tuple[str, ...]
    parent: str = ""


def _sections(name: str) -> Iterator[tuple[str, list[str]]]:
    """The sections of a file: the text in brackets, and the lines below it."""
    text = "\n".join(
        line for line in (FOLDER / name).read_text(encoding="utf-8").splitlines() if not line.startswith("#")
    )
    for part in re.split(r"^\[", text, flags=re.MULTILINE)[1:]:
        head, _, body = part.partition("]\n")
        yield head, body.split("\n")


@cache
def section(file: str, name: str) -> tuple[str, ...]:
    """The lines of one section."""
    return tuple(line for line in dict(_sections(file))[name] if line)


@cache
def categories() -> dict[str, Category]:
    """The categories of nouns by name, without the nouns of none; those within another one are in it, too."""
    found: dict[str, Category] = {}
    for head, lines in _sections("nouns.txt"):
        name, *rest = head.split(", ")
        if rest:
            found[name] = Category(name, rest[0], tuple(" ".join(lines).split()), (*rest, "")[1].removeprefix("< "))
    for category in list(found.values()):
        if parent := found.get(category.parent):
            within = tuple(word for word in category.words if word not in parent.words)
            found[parent.name] = Category(parent.name, parent.plural, parent.words + within, parent.parent)
    return found


@cache
def of(word: str) -> frozenset[str]:
    """The categories that a word is in."""
    return frozenset(name for name, category in categories().items() if word in category.words)


@cache
def nouns() -> tuple[tuple[str, ...], ...]:
    """Common nouns, without names, by grade: best known ones first."""
    found: tuple[list[str], ...] = ([], [], [])
    for head, lines in _sections("nouns.txt"):
        words = [word for word in " ".join(lines).split() if word.islower()]
        for grade in (1, 2, 3):
            found[grade - 1].extend(graded(words, grade) if head != "-" else words if grade == 1 else [])
    return tuple(tuple(dict.fromkeys(words)) for words in found)


def words(grade: int) -> tuple[str, ...]:
    """The nouns of a grade."""
    return nouns()[grade - 1]


def graded(things: Sequence[T], grade: int) -> Sequence[T]:
    """The third of a sequence that is of a grade; its order goes from the best known to the least."""
    size = len(things)
    return things[size * (grade - 1) // 3 : size * grade // 3]


def pick(rng: random.Random, grade: int, count: int, used: Sequence[str] = ()) -> list[str]:
    """Different nouns; in grade 1 the best known ones alone, in grade 3 the lesser known as well."""
    pool = [word for level in nouns()[:grade] for word in level if word not in used]
    return rng.sample(pool, count)


@cache
def names(name: str) -> tuple[str, ...]:
    """The words of a section of words.txt that is a list."""
    return tuple(" ".join(section("words.txt", name)).split())


@cache
def pairs(name: str, grade: int | None = None) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The lines "word answer/answer" of a section of words.txt, of a grade where it has grades."""
    lines = section("words.txt", name if grade is None else f"{name} {grade}")
    split = [line.split(" ", 1) for line in lines]
    return tuple((word, tuple(answers.split("/"))) for word, answers in split)


@cache
def facts(name: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The lines "asked: answer/answer" of a section of facts.txt."""
    split = [line.split(": ", 1) for line in section("facts.txt", name)]
    return tuple((asked, tuple(answers.split("/"))) for asked, answers in split)


@dataclass(frozen=True)
class Country:
    """A country; capital, continent and language may be said in several ways, languages may be unknown."""

    name: str
    capitals: tuple[str, ...]
    continents: tuple[str, ...]
    languages: tuple[str, ...]


@cache
def countries() -> tuple[Country, ...]:
    """The countries, from the best known to the least."""
    lines = (FOLDER / "countries.txt").read_text(encoding="utf-8").splitlines()
    rows = [line.split("|") for line in lines if not line.startswith("#")]
    return tuple(Country(name, *(tuple(filter(None, values.split("/"))) for values in rest)) for name, *rest in rows)


@cache
def sizes() -> dict[str, int]:
    """Things and the tier of their size."""
    tiers = section("facts.txt", "sizes")
    return {word.replace("-", " "): tier for tier, line in enumerate(tiers) for word in line.split()}


@cache
def plurals(word: str) -> tuple[str, ...]:
    """The plural of a noun and other right ones; empty where it is not counted.

    >>> plurals("fox"), plurals("city"), plurals("mouse"), plurals("water")
    (('foxes',), ('cities',), ('mice',), ())
    """
    if word in names("uncounted"):
        return ()
    if word in (irregular := dict(pairs("plurals"))):
        return irregular[word]
    if re.search(r"(s|x|z|ch|sh)$", word):
        regular = word + "es"
    elif re.search(r"[^aeiou]y$", word):
        regular = word[:-1] + "ies"
    else:
        regular = word + "s"
    return (regular,)


def a(word: str) -> str:
    """A word with its article.

    >>> a("apple"), a("unicorn"), a("hour")
    ('an apple', 'a unicorn', 'an hour')
    """
    vowel = re.match(r"[aeiou](?!ni[cf]|k[ue]|se|uro)|hour|heir|honest", word.lower())
    return f"{'an' if vowel else 'a'} {word}"
