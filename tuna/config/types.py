"""Annotations as config and constructors check them: types, choices, and the ranges of the package annotated_types.

``Annotated[int, Ge(1)] | None`` is a whole number of 1 or more, or null. ``checked`` makes a class check its arguments;
tuna.config.checks holds a config against the same annotations.
"""

import ast
import builtins
import collections.abc
import functools
import inspect
import math
import operator
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import annotated_types

from tuna.errors import ConfigError

C = TypeVar("C", bound=type)
_KNOWN: dict[str, Any] = {
    **vars(builtins), **vars(typing), **vars(collections.abc), **vars(annotated_types),
    "Path": Path, "typing": typing, "collections": collections, "annotated_types": annotated_types,
}  # fmt: skip
_UNIONS = (Union, types.UnionType)
_LISTS = (list, tuple, set, frozenset, Sequence, Iterable, Collection)
# What is taken for a type, and the type in words.
_KINDS: dict[Any, tuple[tuple[type, ...], str]] = {
    type(None): ((type(None),), "null"),
    bool: ((bool,), "true or false"),
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    str: ((str, PathLike), "text"),
    Path: ((str, PathLike), "a path"),
    **dict.fromkeys((dict, Mapping), ((Mapping,), "a mapping {key: value}")),
    **dict.fromkeys(_LISTS, ((list, tuple, set, frozenset), "a list")),
}
_BOUNDS = {"ge": operator.ge, "gt": operator.gt, "le": operator.le, "lt": operator.lt}


def read_annotation(node: ast.expr | None, lookup: Callable[[str], Any] = lambda name: None) -> Any:
    """The type that an annotation's syntax tree stands for; ``Any``, which accepts all, where it is not understood.

    lookup: gives what a name is an alias of (``Schedule = Literal[...]``), or None.

    >>> read_annotation(ast.parse("Annotated[int, Ge(1)] | None", mode="eval").body)
    typing.Optional[typing.Annotated[int, Ge(ge=1)]]
    """
    if isinstance(node, ast.Constant) and isinstance(node.value, str):  # a quoted annotation
        node = ast.parse(node.value, mode="eval").body
    if node is None:
        return Any
    names: dict[str, Any] = {}
    for part in ast.walk(node):
        if isinstance(part, ast.Name):
            names[part.id] = _KNOWN[part.id] if part.id in _KNOWN else read_annotation(lookup(part.id), lookup)
    try:
        return eval(compile(ast.Expression(node), "annotation", "eval"), {"__builtins__": {}}, names)
    except (AttributeError, TypeError):  # an attribute or an argument of a name that is not known
        return Any


def fits(value: object, expected: object) -> bool:
    """Whether a value can be given for the type ``expected``: a class that a config cannot spell accepts everything.

    >>> fits(1, float), fits(True, int), fits("x", Literal["x", "y"]), fits([1, 2.5], tuple[float, float])
    (True, False, True, True)
    """
    origin, inner = get_origin(expected), get_args(expected)
    if origin in _UNIONS:
        return any(fits(value, part) for part in inner)
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in inner)
    if origin is Annotated:
        return fits(value, inner[0]) and (value is None or _within(value, _limits(inner[1:])))
    kind = type(None) if expected is None else origin or expected
    if kind not in _KINDS:
        return True
    if not isinstance(value, _KINDS[kind][0]) or (isinstance(value, bool) and kind is not bool):
        return False
    items: Any = value
    if kind is tuple and inner and inner[-1] is not ...:
        return len(items) == len(inner) and all(map(fits, items, inner))
    return kind not in _LISTS or not inner or all(fits(item, inner[0]) for item in items)


def describe(expected: object, *, only_range: bool = False) -> str:
    """The type in words, for messages. only_range: ``1 or more`` in place of ``a whole number of 1 or more``.

    >>> describe(float | None), describe(Literal["cosine", "linear"])
    ('a number or null', 'cosine or linear')
    >>> describe(Annotated[float, annotated_types.Interval(gt=0, le=1)] | None)
    'a finite number above 0 and at most 1, or null'
    """
    origin, inner = get_origin(expected), get_args(expected)
    if origin in _UNIONS:
        ranged = any(get_origin(part) is Annotated for part in inner)
        return (", or " if ranged else " or ").join(describe(part, only_range=only_range) for part in inner)
    if origin is Literal:
        return " or ".join("null" if choice is None else str(choice).lower() for choice in inner)
    if origin is Annotated:
        limits = _limits(inner[1:])
        if "min_length" in limits:
            noun, number = describe(inner[0]), limits["min_length"]
            return noun + " that is not empty" if number == 1 else noun.replace("a list", f"a list of {number} or more")
        ends = {"ge": "{:.12g} or more", "gt": "above {:.12g}", "le": "at most {:.12g}", "lt": "below {:.12g}"}
        words, link = " and ".join(ends[name].format(limit) for name, limit in limits.items()), " of "
        if limits.keys() == {"ge", "le"}:
            words, link = f"{limits['ge']:.12g} to {limits['le']:.12g}", " from "
        elif words.startswith(("above", "below")):
            link = " "
        if only_range:
            return words
        return ("a finite number" if inner[0] is float else describe(inner[0])) + link + words
    kind = type(None) if expected is None else origin or expected
    if kind is tuple and inner and inner[-1] is not ...:
        return f"a list of {len(inner)}, each {' or '.join(dict.fromkeys(map(describe, inner)))}"
    if kind in _LISTS and inner and inner[0] is not Any:
        return f"a list, each {describe(inner[0])}"
    return _KINDS[kind][1] if kind in _KINDS else "anything"


def wrong_value(key: str, value: Any, expected: Any) -> str | None:
    """What is wrong with one value, or None.

    >>> wrong_value("loss.margin", -1, Annotated[float, annotated_types.Ge(0)])
    'loss.margin: expected 0 or more, got -1'
    """
    if fits(value, expected):
        return None
    parts = get_args(expected) if get_origin(expected) in _UNIONS else (expected,)
    bases = [get_args(part)[0] for part in parts if get_origin(part) is Annotated]
    number = isinstance(value, int | float)
    right_type = len(bases) == 1 and number and math.isfinite(value) and fits(value, bases[0])
    hint = f"; as text: '{key}=\"{value}\"'" if number and fits(str(value), expected) else ""
    return f"{key}: expected {describe(expected, only_range=right_type)}, got {value!r}{hint}"


def checked(cls: C) -> C:
    """Decorates a class (above ``@dataclass``) whose constructor then checks its arguments against their annotations.

    Its ConfigError has a line for each wrong argument, by its config key (``lambda_`` is ``lambda``), without the node.

    >>> @checked
    ... class Margin:
    ...     def __init__(self, margin: Annotated[float, annotated_types.Ge(0)] = 0.1) -> None: ...
    >>> Margin(margin=-1)
    Traceback (most recent call last):
    tuna.errors.ConfigError: margin: expected 0 or more, got -1
    """
    construct: Any = cls.__init__  # type: ignore[misc]
    signature = inspect.signature(construct)

    @functools.wraps(construct)
    def checks_first(self: object, *args: object, **kwargs: object) -> None:
        given = signature.bind(self, *args, **kwargs).arguments
        found = [wrong_value(name.rstrip("_"), given[name], signature.parameters[name].annotation) for name in given]
        if wrong := [message for message in found if message]:
            raise ConfigError("\n".join(wrong))
        construct(self, *args, **kwargs)

    cls.__init__ = checks_first  # type: ignore[misc]
    return cls


def _limits(rules: Iterable[Any]) -> dict[str, Any]:
    """The bounds and lengths of annotated_types that are set: ``{"ge": 1}``."""
    names = (*_BOUNDS, "min_length")
    return {name: limit for rule in rules for name in names if (limit := getattr(rule, name, None)) is not None}


def _within(value: Any, limits: Mapping[str, Any]) -> bool:
    """Whether a number is within the bounds, and finite; or another value as long as it has to be."""
    if isinstance(value, int | float):
        return math.isfinite(value) and all(_BOUNDS[name](value, limit) for name, limit in limits.items())
    return bool(len(value) >= limits.get("min_length", 0))
