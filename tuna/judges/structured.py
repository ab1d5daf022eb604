"""Replies in JSON: the schema that they have to fit, and reading them."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tuna.data.fields import parse_json
from tuna.errors import ConfigError
from tuna.judges.replies import VerdictError, shortened, spoken


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_TYPES: dict[str, Any] = {
    "object": dict, "array": list, "string": str, "integer": int, "number": int | float, "boolean": bool,
    "null": type(None),
}  # fmt: skip
_KEYWORDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "type": (lambda value: {str(kind) for kind in (value if isinstance(value, list) else [value])} <= _TYPES.keys(),
             f"one or several of {', '.join(_TYPES)}"),
    "enum": (lambda value: isinstance(value, list), "a list"),
    "required": (lambda value: isinstance(value, list) and all(isinstance(name, str) for name in value),
                 "a list of fields' names"),
    "properties": (lambda value: isinstance(value, dict), "an object"),
    **dict.fromkeys(("minimum", "maximum", "minItems", "maxItems"), (_is_number, "a number")),
}  # fmt: skip
_decode = json.JSONDecoder().raw_decode


def read_schema(given: str | Mapping[str, Any], field: str) -> dict[str, Any]:
    """A JSON schema of an object with the property ``field``, from a file or as it is. Raises ConfigError."""
    where = f"schema: {given}" if isinstance(given, str) else "schema"
    try:
        found = parse_json(Path(given).read_bytes()) if isinstance(given, str) else dict(given)
    except (OSError, ValueError) as error:
        line = f":{error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        fault = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{where}{line}: expected a JSON schema or a file that holds one, got: {fault}") from None
    properties = found.get("properties") if isinstance(found, dict) else None
    if not isinstance(properties, dict) or found.get("type", "object") != "object":
        raise ConfigError(f"{where}: expected a JSON schema of an object with properties, got {shortened(str(found))}")
    if not isinstance(properties.get(field), dict):
        names = ", ".join(map(str, properties)) or "none"
        raise ConfigError(f"{where}: expected a property {field!r} (judge.field=... names another), got {names}")
    if wrong := _wrong(found):
        raise ConfigError(f"{where}: {wrong}")
    return found


def _wrong(schema: object, at: str = "") -> str | None:
    """What a keyword that ``misfit`` looks at is not, or None."""
    if isinstance(schema, bool):
        return None
    if not isinstance(schema, dict):
        return f"{at.removesuffix('.')}: expected an object, got {shortened(str(schema))}"
    for key, (fits, expected) in _KEYWORDS.items():
        if key in schema and not fits(schema[key]):
            return f"{at}{key}: expected {expected}, got {shortened(str(schema[key]))}"
    inner = {f"properties.{key}": each for key, each in schema.get("properties", {}).items()}
    inner |= {"items": schema["items"]} if "items" in schema else {}
    return next((told for key, each in inner.items() if (told := _wrong(each, f"{at}{key}."))), None)


def misfit(value: Any, schema: Any, where: str = "") -> str | None:
    """Where a value does not fit a JSON schema, or None. Looks at type, enum, const, minimum, maximum, properties,
    required, additionalProperties=false, items, minItems and maxItems; other keywords are the server's alone.

    >>> misfit({"score": 9}, {"properties": {"score": {"type": "integer", "maximum": 5}}})
    'score: expected at most 5, got 9'
    """
    if isinstance(schema, bool):  # true is any value
        return None if schema else f"{where}: expected no such field"
    at, kinds = where or "the reply", schema.get("type")
    told = shortened(json.dumps(value, ensure_ascii=False))
    named = [kinds] if isinstance(kinds, str) else kinds or []
    if named and not any(_is(value, kind) for kind in named):
        return f"{at}: expected {' or '.join(named)}, got {told}"
    allowed = [schema["const"]] if "const" in schema else schema.get("enum")
    if allowed is not None and not any(_same(value, each) for each in allowed):
        return f"{at}: expected one of {shortened(json.dumps(allowed, ensure_ascii=False))}, got {told}"
    if _is_number(value):
        if value < schema.get("minimum", value):
            return f"{at}: expected {schema['minimum']} or more, got {told}"
        if value > schema.get("maximum", value):
            return f"{at}: expected at most {schema['maximum']}, got {told}"
    inner: Iterator[tuple[str, object, Mapping[str, Any]]] = iter(())
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        if lacking := [name for name in schema.get("required", ()) if name not in value]:
            return f"{at}: expected the field {lacking[0]!r}, got {told}"
        if schema.get("additionalProperties") is False and (more := [name for name in value if name not in properties]):
            return f"{at}: expected no field {shortened(more[0])!r}"
        inner = ((f"{where}.{key}".lstrip("."), value[key], properties[key]) for key in value if key in properties)
    if isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            return f"{at}: another number of items than the schema says: {len(value)}"
        inner = ((f"{where}[{k}]", item, schema.get("items", {})) for k, item in enumerate(value))
    return next((fault for name, each, of in inner if (fault := misfit(each, of, name))), None)


def _same(value: object, other: object) -> bool:
    """Whether JSON takes two values for one: 1 and 1.0 are, 1 and true are not."""
    return value == other and isinstance(value, bool) == isinstance(other, bool)


def _is(value: object, kind: str) -> bool:
    whole = kind == "integer" and isinstance(value, float) and value.is_integer()
    return whole or (isinstance(value, _TYPES.get(kind, object)) and (kind == "boolean" or not isinstance(value, bool)))


def read_object(text: str, finished: bool, schema: Mapping[str, Any], field: str) -> Any:
    """The value of ``field`` in the one JSON object of a reply that fits the schema. Raises VerdictError: there is
    none, or two that differ. Thoughts are not read.

    >>> read_object('Here it is: {"score": 4}', True, {"properties": {"score": {"type": "integer"}}}, "score")
    4
    """
    objects = list(_objects(spoken(text, finished)))
    fitting = [each for each in objects if misfit(each, schema) is None and field in each]
    if not objects:
        raise VerdictError("no JSON object found")
    if not fitting:
        raise VerdictError(f"{misfit(objects[-1], schema) or f'the reply: expected the field {field!r}'}")
    if any(each[field] != fitting[0][field] for each in fitting):
        raise VerdictError(f"JSON objects that differ: {', '.join(shortened(json.dumps(e)) for e in fitting[:3])}")
    return fitting[-1][field]


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The outermost JSON objects of a text."""
    at = text.find("{")
    while at >= 0:
        try:
            found, end = _decode(text, at)
            yield found
        except (ValueError, RecursionError):
            end = at + 1
        at = text.find("{", end)


def verdict_schema(kind: str, scale: tuple[int, int]) -> dict[str, Any]:
    """The JSON schema of a verdict alone.

    >>> verdict_schema("pointwise", (1, 3))["properties"]
    {'score': {'type': 'integer', 'enum': [1, 2, 3]}}
    """
    forms: dict[str, dict[str, Any]] = {
        "listwise": {"rank": {"type": "array", "items": {"type": "integer"}}},
        "pairwise": {"choice": {"type": "string", "enum": ["A", "B", "C"]}},
        "pointwise": {"score": {"type": "integer", "enum": list(range(scale[0], scale[1] + 1))}},
    }
    properties = forms[kind]
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}
