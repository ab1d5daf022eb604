"""For `make docs`: examples in docstrings are code on the page (Markdown takes ``>>>`` for a quotation)."""

import re
from typing import Any

import griffe

_EXAMPLE = re.compile(r"^>>> .*(?:\n(?!\n).*)*", re.M)


class Doctests(griffe.Extension):
    """Puts each doctest of each docstring into a code block."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for each class, function and attribute."""
        if obj.docstring:
            obj.docstring.value = _EXAMPLE.sub(lambda found: f"```pycon\n{found[0]}\n```", obj.docstring.value)
