"""Annotations as values of the config see them: read from source text, checked, and described in words.

Nothing is imported or evaluated: an annotation that is not understood is ``Any`` and accepts everything.
"""

import ast
import functools
import operator
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

_PLAIN: dict[str, Any] = {"int": int, "float": float, "bool": bool, "str": str, "None": None, "Any": Any, "Path": str}
_LISTS = {"list", "List", "tuple", "Tuple", "Sequence", "Iterable", "Collection", "set", "frozenset"}
_DICTS = {"dict", "Dict", "Mapping", "MutableMapping"}

Lookup = Callable[[str], ast.expr | None]


def read_annotation(node: ast.expr | None, lookup: Lookup = lambda name: None) -> Any:
    """The type that an annotation's syntax tree stands for.

    ``lookup`` gives what a name is an alias of (``Schedule = Literal[...]``), or None.

    >>> read_annotation(ast.parse("float | None", mode="eval").body)
    float | None
    """
    if node is None:
        return Any
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):  # a quoted annotation
            return read_annotation(ast.parse(node.value, mode="eval").body, lookup)
        return node.value
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _union([read_annotation(node.left, lookup), read_annotation(node.right, lookup)])
    if isinstance(node, ast.Subscript):
        return _subscript(node, lookup)
    name = _name(node)
    if name in _PLAIN:
        return _PLAIN[name]
    if name in _LISTS:
        return list
    if name in _DICTS:
        return dict
    alias = lookup(name)
    return Any if alias is None else read_annotation(alias, lookup)


def _name(node: ast.expr) -> str:
    """The last part of a dotted name: ``typing.Literal`` -> ``Literal``."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _subscript(node: ast.Subscript, lookup: Lookup) -> Any:
    name = _name(node.value)
    items = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    if name == "Literal":
        return Literal[tuple(ast.literal_eval(item) for item in items)]
    if name == "Annotated":
        return read_annotation(items[0], lookup)
    if name == "Optional":
        return _union([read_annotation(items[0], lookup), None])
    if name == "Union":
        return _union([read_annotation(item, lookup) for item in items])
    if name in {"tuple", "Tuple"} and not (isinstance(items[-1], ast.Constant) and items[-1].value is ...):
        return tuple.__class_getitem__(tuple(read_annotation(item, lookup) for item in items))
    if name in _LISTS:
        return types.GenericAlias(list, (read_annotation(items[0], lookup),))
    return dict if name in _DICTS else Any


def _union(parts: list[Any]) -> Any:
    return Any if Any in parts else functools.reduce(operator.or_, parts)


def fits(value: Any, expected: Any) -> bool:
    """Whether a config value (None, bool, int, float, str, list, dict) can be given for the type ``expected``.

    >>> fits(1, float), fits(True, int), fits("x", Literal["x", "y"]), fits([1, 2.5], tuple[float, float])
    (True, False, True, True)
    """
    origin, inner = get_origin(expected), get_args(expected)
    if expected is Any:
        return True
    if expected is None or expected is type(None):
        return value is None
    if origin in (Union, types.UnionType):
        return any(fits(value, part) for part in inner)
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in inner)
    if origin is tuple:
        return isinstance(value, list) and len(value) == len(inner) and all(map(fits, value, inner))
    if origin is list:
        return isinstance(value, list) and all(fits(item, inner[0]) for item in value)
    if isinstance(value, bool):
        return expected is bool
    return isinstance(value, (int, float) if expected is float else expected)


def describe(expected: Any) -> str:
    """The type in words, for messages.

    >>> describe(float | None), describe(Literal["cosine", "linear"])
    ('a number or null', 'cosine or linear')
    """
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path"}
    words |= {list: "a list", dict: "a mapping {key: value}", Any: "anything"}
    origin, inner = get_origin(expected), get_args(expected)
    if expected is None or expected is type(None):
        return "null"
    if origin in (Union, types.UnionType):
        return " or ".join(describe(part) for part in inner)
    if origin is Literal:
        return " or ".join("null" if choice is None else str(choice).lower() for choice in inner)
    if origin is tuple:
        return f"a list of {len(inner)} ({', '.join(describe(part) for part in inner)})"
    if origin is list:
        return "a list" if inner[0] is Any else f"a list, each {describe(inner[0])}"
    return words.get(expected, getattr(expected, "__name__", str(expected)))
