"""The nearest of the allowed names, for messages."""

import difflib
from collections.abc import Sequence


def closest(name: str, allowed: Sequence[str]) -> str | None:
    """The allowed name that ``name`` most likely meant; a bare last part counts too.

    >>> closest("loss.lamda", ["loss.lambda", "loss.margin"]), closest("lambda", ["loss.lambda", "module.lr"])
    ('loss.lambda', 'loss.lambda')
    """
    if found := difflib.get_close_matches(name, allowed, n=1, cutoff=0.6):
        return found[0]
    last = name.rpartition(".")[2]
    by_last = {key.rpartition(".")[2]: key for key in allowed}
    found = difflib.get_close_matches(last, list(by_last), n=1, cutoff=0.7)
    return by_last[found[0]] if found else None


def nearest(name: str, allowed: Sequence[str]) -> str:
    """``; did you mean X?`` or nothing.

    >>> nearest("lamda", ["lambda", "margin"])
    '; did you mean lambda?'
    """
    found = closest(name, allowed)
    return f"; did you mean {found}?" if found else ""
