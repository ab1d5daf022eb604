import ast
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import pytest
from annotated_types import Ge, Interval

from tuna.config.types import checked, describe, fits, read_annotation, wrong_value
from tuna.errors import ConfigError

ALIASES = {"Schedule": "Literal['cosine', 'linear']", "Later": "Schedule | None", "Whole": "Annotated[int, Ge(0)]"}


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
        ("Annotated[int, Ge(1)]", [1, 7], [0, -3, 1.5, True, "1", None]),
        ("Annotated[float, Interval(gt=0, le=1)]", [1, 0.5], [0, 1.5, True, "x", float("nan"), float("inf")]),
        ("Annotated[float, annotated_types.Ge(0)] | None", [0, None], [-1, float("inf")]),
        ("Whole | Literal['auto']", [3, "auto"], [-1, "all", None]),
        ("tuple[Annotated[float, Ge(0), Lt(1)], float]", [[0.9, 9]], [[1, 9]]),
        ("Annotated[str, MinLen(1)]", ["x"], ["", 3, None]),
        ("Annotated[list[str], MinLen(1)]", [["x"]], [[], "x", [3]]),
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
        ("tuple[float, float]", "a list of 2, each a number"),
        ("tuple[float, str]", "a list of 2, each a number or text"),
        ("list[int]", "a list, each a whole number"),
        ("dict[str, Any]", "a mapping {key: value}"),
        ("bool", "true or false"),
        ("Annotated[int, Ge(1)]", "a whole number of 1 or more"),
        ("Annotated[int, Interval(ge=2, le=25)]", "a whole number of 2 to 25"),
        ("Annotated[int, Ge(2)] | None", "a whole number of 2 or more, or null"),
        ("Annotated[float, Gt(0)]", "a finite number above 0"),
        ("Annotated[float, Ge(0), Lt(1)]", "a finite number of 0 or more and below 1"),
        ("Annotated[int, Le(5)]", "a whole number of at most 5"),
        ("Annotated[str, MinLen(1)]", "text that is not empty"),
        ("Annotated[list[str], MinLen(2)] | None", "a list of 2 or more, each text, or null"),
    ],
)
def test_types_are_described_in_words(annotation: str, words: str) -> None:
    assert describe(read(annotation)) == words


@pytest.mark.parametrize("annotation", ["Callable[[int], str]", "np.ndarray | None", "Unknown[int] | None", "Unknown"])
def test_what_is_not_understood_accepts_everything(annotation: str) -> None:
    assert fits(Callable, read(annotation))


@pytest.mark.parametrize(
    ("value", "annotation", "message"),
    [
        (0, "Annotated[int, Ge(1)] | None", "expected 1 or more, or null, got 0"),
        (2.5, "Annotated[int, Ge(1)] | None", "expected a whole number of 1 or more, or null, got 2.5"),
        (float("inf"), "Annotated[float, Ge(0)]", "expected a finite number of 0 or more, got inf"),
        (0, "Annotated[int, Ge(1)] | Literal['auto']", "expected 1 or more, or auto, got 0"),
        (1.5, "Annotated[float, Interval(gt=0, le=1)]", "expected above 0 and at most 1, got 1.5"),
        ("", "Annotated[str, MinLen(1)]", "expected text that is not empty, got ''"),
    ],
)
def test_a_value_of_the_right_type_is_told_the_range_alone(value: Any, annotation: str, message: str) -> None:
    assert wrong_value("k", value, read(annotation)) == f"k: {message}"


class Named(Protocol):
    """A thing of the code's own, which no config spells."""


@checked
@dataclass(frozen=True, slots=True)
class Node:
    """As a node of the config."""

    path: str
    size: Annotated[int, Ge(1)] | None = None
    rate_: Annotated[float, Interval(gt=0, le=1)] = 1.0
    order: Literal["up", "down"] = "up"
    pair: tuple[float, float] = (0.9, 0.999)
    owner: Named | None = None


class Narrow(Node):
    """Takes the constructor that it inherits."""


@pytest.mark.parametrize("cls", [Node, Narrow])
def test_a_constructor_checks_its_arguments_all_at_once(cls: type[Node]) -> None:
    fine = cls(Path("a"), rate_=1, pair=[0, 1], owner=object())  # type: ignore[arg-type]
    assert (fine.size, fine.rate_) == (None, 1)
    assert list(inspect.signature(cls).parameters) == ["path", "size", "rate_", "order", "pair", "owner"]
    with pytest.raises(ConfigError) as error:
        cls("a", 0, rate_=2, order="sideways", pair=(1,))  # type: ignore[arg-type]
    assert str(error.value).splitlines() == [
        "size: expected 1 or more, or null, got 0",
        "rate: expected above 0 and at most 1, got 2",
        "order: expected up or down, got 'sideways'",
        "pair: expected a list of 2, each a number, got (1,)",
    ]
    with pytest.raises(TypeError, match="path"):
        cls()  # type: ignore[call-arg]
