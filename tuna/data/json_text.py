"""JSON that others wrote: whatever is wrong with it is one ValueError with the reason."""

import json
from typing import Any

DEPTH = 100  # lists and objects in one another; the deepest data there are have some ten


def parse_json(text: str | bytes) -> Any:
    """``json.loads`` without its other ends: numbers of thousands of digits, nesting that no later step could follow.

    Bytes are UTF-8.

    Raises:
        ValueError: with what is wrong; a json.JSONDecodeError, which knows the line, where it is no JSON at all.

    >>> parse_json("[" * 101 + "]" * 101)
    Traceback (most recent call last):
        ...
    ValueError: lists or objects nested more than 100 deep
    """
    text = text.decode("utf-8-sig") if isinstance(text, bytes) else text
    deep = ValueError(f"lists or objects nested more than {DEPTH} deep")
    try:
        value = json.loads(text)
    except RecursionError:
        raise deep from None
    except json.JSONDecodeError:
        raise
    except ValueError:
        raise ValueError("a whole number of more than 4300 digits") from None
    if text.count("[") + text.count("{") > DEPTH and _deeper(value, DEPTH):
        raise deep
    return value


def _deeper(value: Any, depth: int) -> bool:
    """Whether lists and objects are nested more than ``depth`` deep."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return inner is not None and (depth == 0 or any(_deeper(each, depth - 1) for each in inner))
