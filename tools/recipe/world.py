"""The little world: things with facts, and relations between words, read from two plain text files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

SIZES = ("tiny", "small", "big", "huge")
_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Thing:
    """A thing of the world.

    Attributes:
        name: its word, for example ``fox``.
        plural: the word for several of them.
        kind: the word for its class, for example ``animal``.
        facts: true predicates (``is red``, ``lives in the forest``), the kind first.
        values: what fills each pattern of the kind, several where several are true.
        patterns: the patterns of the kind, such as ``lives in the {}``.
    """

    name: str
    plural: str
    kind: str
    facts: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]
    patterns: tuple[str, ...]

    @property
    def size(self) -> str | None:
        """Its size, one of `SIZES`; None for people."""
        return self.values[0][0] if self.values[0][0] in SIZES else None

    @property
    def colours(self) -> tuple[str, ...]:
        """The colours it can have; empty for places and people."""
        return self.values[1] if self.kind not in ("place", "worker") else ()

    @property
    def place(self) -> str | None:
        """Where it is: the value of the pattern that ends in ``in the {}``; None for places."""
        return self.values[2][0] if self.patterns[2].endswith("in the {}") else None


@dataclass(frozen=True)
class World:
    """Everything the embedded models can know.

    Attributes:
        things: every thing, in the order of the file.
        opposites: word to its opposite, both ways.
        past: verb to its past.
        rhymes: families of words that rhyme.
    """

    things: tuple[Thing, ...]
    opposites: Mapping[str, str]
    past: Mapping[str, str]
    rhymes: tuple[tuple[str, ...], ...]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of things, each once."""
        return tuple(dict.fromkeys(thing.kind for thing in self.things))

    def of_kind(self, kind: str) -> list[Thing]:
        """The things of one kind."""
        return [thing for thing in self.things if thing.kind == kind]


def article(noun: str) -> str:
    """The noun with its indefinite article.

    >>> article("owl"), article("fox")
    ('an owl', 'a fox')
    """
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def plural_of_kind(kind: str) -> str:
    """The plural of a kind's name.

    >>> plural_of_kind("toy"), plural_of_kind("furniture")
    ('toys', 'furniture')
    """
    return kind if kind == "furniture" else f"{kind}s"


def with_kind(kind: str) -> str:
    """The kind as the end of "A fox is ...", with an article where English wants one.

    >>> with_kind("animal"), with_kind("furniture")
    ('an animal', 'furniture')
    """
    return kind if plural_of_kind(kind) == kind else article(kind)


def coloured(shade: str, kind: str) -> str:
    """One thing of a kind in a colour.

    >>> coloured("red", "fruit"), coloured("red", "furniture")
    ('a red fruit', 'red furniture')
    """
    return f"{shade} {kind}" if plural_of_kind(kind) == kind else article(f"{shade} {kind}")


def _things(text: str) -> list[Thing]:
    things: list[Thing] = []
    kind, patterns = "", ()  # type: str, tuple[str, ...]
    for line in text.splitlines():
        if line.startswith("["):
            head, rest = line[1:].split("]")
            kind, patterns = head, tuple(part.strip() for part in rest.split(";"))
        elif line and not line.startswith("#"):
            name, plural, *columns = line.split("|")
            values = tuple(tuple(column.split("/")) for column in columns)
            if len(values) != len(patterns):
                raise ValueError(f"world.txt: {name}: expected {len(patterns)} facts, got {len(values)}")
            filled = [pattern.format(value) for pattern, group in zip(patterns, values, strict=True) for value in group]
            things.append(Thing(name, plural, kind, (f"is {with_kind(kind)}", *filled), values, patterns))
    return things


def _sections(text: str) -> dict[str, list[list[str]]]:
    sections: dict[str, list[list[str]]] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("["):
            name = line.strip("[]")
            sections[name] = []
        elif line and not line.startswith("#"):
            sections[name].append(line.split())
    return sections


@lru_cache(maxsize=1)
def load_world() -> World:
    """Reads the world from the two files beside this module.

    >>> world = load_world()
    >>> world.opposites["hot"], world.things[0].facts[:2]
    ('cold', ('is an animal', 'is small'))
    """
    relations = _sections((_FOLDER / "words.txt").read_text(encoding="utf-8"))
    opposites: dict[str, str] = {}
    for left, right in relations["opposites"]:
        opposites.setdefault(left, right)
        opposites.setdefault(right, left)
    return World(
        things=tuple(_things((_FOLDER / "world.txt").read_text(encoding="utf-8"))),
        opposites=opposites,
        past={line[0]: line[1] for line in relations["past"]},
        rhymes=tuple(tuple(family) for family in relations["rhymes"]),
    )
