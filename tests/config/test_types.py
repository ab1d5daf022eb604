import ast
from collections.abc import Callable
from typing import Any, Literal

import pytest

from tuna.config.types import describe, fits, read_annotation

ALIASES = {"Schedule": "Literal['cosine', 'linear']", "Later": "Schedule | None"}


def lookup(name: str) -> ast.expr | None:
    return ast.parse(ALIASES[name], mode="eval").body if name in ALIASES else None


def read(text: str) -> Any:
    return read_annotation(ast.parse(text, mode="eval").body, lookup)


@pytest.mark.parametrize(
    ("annotation", "good", "bad"),
    [
        ("int", [0, -3], [1.5, True, "1", None]),
        ("float", [0, 1e-5, float("nan")], [True, "x", None]),
        ("bool", [True], [0, "true"]),
        ("str | None", ["x", None], [3, []]),
        ("Optional[int]", [None, 2], ["2"]),
        ("'int | None'", [None, 2], ["2"]),
        ("int | Literal['auto']", [2, "auto"], ["all", None]),
        ("Later", ["cosine", None], ["step", 1]),
        ("tuple[float, float]", [[0.9, 1]], [[0.9], [0.9, "x"], 0.9]),
        ("Sequence[str]", [[], ["a"]], ["a", [1]]),
        ("dict[str, Any] | None", [{}, None], ["a", 3]),
        ("collections.abc.Sequence[int]", [[1]], [["a"]]),
        ("SomeClass | None", ["anything", 3], []),
    ],
)
def test_values_are_checked_against_annotations(annotation: str, good: list[Any], bad: list[Any]) -> None:
    expected = read(annotation)
    assert [value for value in good if not fits(value, expected)] == []
    assert [value for value in bad if fits(value, expected)] == []


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        ("float | None", "a number or null"),
        ("Schedule", "cosine or linear"),
        ("tuple[float, float]", "a list of 2 (a number, a number)"),
        ("list[int]", "a list, each a whole number"),
        ("dict[str, Any]", "a mapping {key: value}"),
        ("bool", "true or false"),
    ],
)
def test_types_are_described_in_words(annotation: str, words: str) -> None:
    assert describe(read(annotation)) == words


def test_what_is_not_understood_accepts_everything() -> None:
    callable_type: Any = read("Callable[[int], str]")
    assert callable_type is Any and fits(Callable, callable_type)
    assert read("Literal[1, 'a']") == Literal[1, "a"]
