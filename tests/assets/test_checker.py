"""The checker: strict about what is right, tolerant about how it is said."""

from __future__ import annotations

from typing import Any

import pytest

from tuna.assets.checker import is_checkable, mark

COLD: dict[str, Any] = {"check": "one_of", "answers": ["cold", "chilly"]}
SEVEN: dict[str, Any] = {"check": "one_of", "answers": ["7"]}
ANIMALS: dict[str, Any] = {"check": "all_of", "answers": ["fox", "hen"]}
SORTED: dict[str, Any] = {"check": "in_order", "answers": ["3", "7", "12"]}
FOX: dict[str, Any] = {
    "check": "facts",
    "about": "fox",
    "answers": ["is an animal", "is small", "is red", "lives in the forest", "has a tail", "can run", "eats hens"],
}


@pytest.mark.parametrize(
    "text", ["cold", "Cold", "cold.", " COLD ", '"cold"', "The answer is cold.", "It is cold", "chilly"]
)
def test_one_of_accepts_ways_of_saying(text: str) -> None:
    assert mark(COLD, text) == 1.0


@pytest.mark.parametrize(
    "text", ["", "hot", "not cold", "cold hot", "cold or hot", "cold, chilly", "colder", "It is not cold"]
)
def test_one_of_refuses(text: str) -> None:
    assert mark(COLD, text) == 0.0


@pytest.mark.parametrize(
    ("text", "right"), [("7", 1.0), ("seven", 1.0), ("17", 0.0), ("7 8", 0.0), ("It is seven.", 1.0)]
)
def test_numbers(text: str, right: float) -> None:
    assert mark(SEVEN, text) == right


@pytest.mark.parametrize("text", ["in the forest", "the forest", "forest", "In the forest."])
def test_articles_and_in_the(text: str) -> None:
    assert mark({"check": "one_of", "answers": ["forest"]}, text) == 1.0


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("fox, hen", 1.0),
        ("Hen and fox.", 1.0),
        ("a fox and a hen", 1.0),
        ("fox", 0.0),
        ("fox, hen, cup", 0.0),
        ("fox, fox", 0.0),
    ],
)
def test_all_of(text: str, right: float) -> None:
    assert mark(ANIMALS, text) == right


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("3, 7, 12", 1.0),
        ("3 7 12", 1.0),
        ("three, seven and twelve", 1.0),
        ("7, 3, 12", 0.0),
        ("3, 7", 0.0),
        ("3, 7, 12, 12", 0.0),
    ],
)
def test_in_order(text: str, right: float) -> None:
    assert mark(SORTED, text) == right


def test_spelling_with_hyphens_or_spaces() -> None:
    spelled = {"check": "in_order", "answers": list("fox")}
    assert [mark(spelled, text) for text in ("f-o-x", "f o x", "f, o, x", "F-O-X.", "fox")] == [1.0, 1.0, 1.0, 1.0, 0.0]


def test_facts_count_true_details_once_and_false_ones_against() -> None:
    assert mark(FOX, "A fox is red.") == pytest.approx(1 / 6)
    assert mark(FOX, "A fox is red. It is red. The fox is red.") == pytest.approx(1 / 6)
    assert mark(FOX, "A fox is red. It has a tail. It can run.") == pytest.approx(3 / 6)
    assert mark(FOX, "A fox is red. It has a tail. It is blue.") == pytest.approx(1 / 6)
    assert mark(FOX, "It is blue.") == 0.0
    assert mark(FOX, "The fox is an animal. The fox is red.") == pytest.approx(2 / 6)
    assert mark(FOX, "") == 0.0


def test_details_of_another_thing_are_false() -> None:
    assert mark(FOX, "A dog is red. It has a tail.") == 0.0
    assert mark(FOX, "A fox is red. It has a tail. A dog has a tail.") == pytest.approx(1 / 6)
    assert mark(FOX, "red") == 0.0


def test_facts_have_a_full_mark() -> None:
    text = " ".join(f"It {fact}." for fact in FOX["answers"])
    assert mark(FOX, text) == 1.0


def test_is_checkable() -> None:
    assert is_checkable(COLD)
    assert not is_checkable(FOX)
