"""The page's template, style and script, and how they are put together."""

import base64
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from tuna.reporting.tables import Table

_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Item:
    """A table, with figures above it (each a PNG in base64, and what it shows)."""

    title: str
    table: Table | None = None
    figures: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """A section of the page. ``folded``: its tables open on a click."""

    id: str
    title: str
    items: list[Item]
    text: str = ""
    folded: bool = False


def inline(path: Path) -> str:
    """A file in base64, for a data URI."""
    return base64.b64encode(path.read_bytes()).decode("ascii")


def named(text: str) -> Markup:
    """Text, escaped, with systems' indices set low and comparisons as one sign.

    >>> str(named("Tuna_c (PRM) <= Tuna_c")), str(named("<b>"))
    ('Tuna<sub>c</sub> (PRM) ≤ Tuna<sub>c</sub>', '&lt;b&gt;')
    """
    safe = str(escape(text)).replace("&gt;=", "≥").replace("&lt;=", "≤")
    return Markup(re.sub(r"\bTuna_([a-z]+)", r"Tuna<sub>\1</sub>", safe))


def render(**values: Any) -> str:
    """The page. Whatever comes from data is escaped; only the house's own style and script are not."""
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True
    )
    environment.filters["named"] = named
    own = {name: Markup((_HERE / f"report.{name}").read_text(encoding="utf-8")) for name in ("css", "js")}
    return environment.get_template("report.html.j2").render(**own, **values)
