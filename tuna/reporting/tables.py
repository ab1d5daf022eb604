"""A table once, written as Markdown, as LaTeX, or by the page's template."""

import base64
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from tuna.stats import Estimate

_PAGE = Path(__file__).with_name("page")  # the page's template, style and script
_SYSTEM = re.compile(r"^((?:mix-)?Tuna)_([a-z]+)(.*)$", re.DOTALL)
_LATEX = str.maketrans({
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "Δ": r"$\Delta$", "\n": " ", "\r": " ", "\t": " ",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cell:
    """``text``, and how it looks."""

    text: str
    value: float | str | None = None  # what it sorts by
    notes: tuple[str, ...] = ()  # lines in small print below it: an interval, a difference
    strong: bool = False
    sign: int = 0  # 1 or -1 for a difference whose whole interval is better or worse, which gets a color


EMPTY = Cell("-")


@dataclass(frozen=True, slots=True)
class Table:
    """A table, whose first column names the rows."""

    key: str  # its file's name
    title: str
    caption: str
    head: list[str]
    rows: list[list[Cell]]
    notes: list[str] = field(default_factory=list)
    numeric: bool = True  # whether all columns but the first hold numbers (set to the right)
    figures: Sequence[tuple[Path, str]] = ()  # PNG files that the page shows above it, and what each shows

    def markdown(self) -> str:
        """With caption and notes; the small print of a cell behind its text."""
        rule = ["---", *(["---:" if self.numeric else "---"] * (len(self.head) - 1))]
        rows = [map(_markdown, self.head), *(map(_markdown_cell, row) for row in self.rows)]
        head, *body = [f"| {' | '.join(row)} |" for row in rows]
        notes = ["", *(f"- {_markdown(note)}" for note in self.notes)] if self.notes else []
        lines = [f"# {self.title}", "", _markdown(self.caption), "", head, f"|{'|'.join(rule)}|", *body, *notes]
        return "\n".join([*lines, ""])

    def values(self) -> list[dict[str, float | str | None]]:
        """The rows for programs: the value of each cell, without its small print, by its column."""
        return [{key: cell.value for key, cell in zip(self.head, row, strict=True)} for row in self.rows]

    def latex(self) -> str:
        """A table environment; needs the package booktabs."""
        columns = "l" + ("r" if self.numeric else "p{0.3\\linewidth}") * (len(self.head) - 1)
        # A row that begins with [ would be read as an argument of the line break before it.
        body = "\n".join(re.sub(r"^\[", "{}[", " & ".join(map(_latex_cell, row))) + r" \\" for row in self.rows)
        notes = "".join(f"\n% {line}" for note in self.notes for line in note.splitlines())
        label = re.sub(r"[^a-z0-9]+", "-", self.key.lower())
        return rf"""% \usepackage{{booktabs}}{notes}
\begin{{table}}
\centering\small
\caption{{{latex(self.title)}. {latex(self.caption)}}}
\label{{tab:{label}}}
\begin{{tabular}}{{{columns}}}
\toprule
{" & ".join(map(latex, self.head))} \\
\midrule
{body}
\bottomrule
\end{{tabular}}
\end{{table}}
"""


def latex(text: str) -> str:
    r"""Text for LaTeX: every special character escaped, a system's index set low.

    >>> latex("Tuna_cp-13K (50% & more)"), latex("a_b$")
    ('Tuna$_{cp}$-13K (50\\% \\& more)', 'a\\_b\\$')
    """
    if match := _SYSTEM.match(text):
        return f"{match[1]}$_{{{match[2]}}}${match[3].translate(_LATEX)}"
    return re.sub(r"(?<!\w)-(?=\d)", "$-$", text.translate(_LATEX))  # a minus is no hyphen


def _latex_cell(cell: Cell) -> str:
    text = rf"\textbf{{{latex(cell.text)}}}" if cell.strong else latex(cell.text)
    return " ".join([text, *(rf"{{\scriptsize {latex(note)}}}" for note in cell.notes)])


def _markdown(text: str) -> str:
    """Markdown in which nothing of the text is markup."""
    text = re.sub(r"([\\`*_|\[\]])", r"\\\1", text)
    return " ".join(text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").split())


def _markdown_cell(cell: Cell) -> str:
    text = f"**{_markdown(cell.text)}**" if cell.strong else _markdown(cell.text)
    return " <br>".join([text, *map(_markdown, cell.notes)])


def number(value: float, sign: bool = False, like: float | None = None) -> str:
    """Three decimals below 10, two below 1000, none above (as ``like`` has them); no sign before a zero.

    >>> number(0.51234), number(-23.456, sign=True), number(0.02, sign=True), number(12345)
    ('0.512', '-23.46', '+0.020', '12,345')
    """
    if not math.isfinite(value):
        return "-"
    size = abs(value if like is None else like)
    decimals = 3 if size < 10 else 2 if size < 1000 else 0
    text = f"{value:+,.{decimals}f}" if sign else f"{value:,.{decimals}f}"
    return text.lstrip("+-") if float(text.replace(",", "")) == 0 else text


LEVEL = 0.05  # of a test that decides


def p_value(p: float) -> str:
    """As text.

    >>> p_value(0.0004), p_value(0.0234)
    ('< 0.001', '0.023')
    """
    return "< 0.001" if p < 0.001 else number(p)


def with_interval(found: Estimate, sign: bool = False, like: float | None = None) -> str:
    """A mean and its interval, as ``+0.020 [+0.010, +0.030]``; the mean alone where it has none."""
    size = found.mean if like is None else like
    mean, low, high = (number(x, sign, size) if x is not None else "" for x in (found.mean, found.low, found.high))
    return f"{mean} [{low}, {high}]" if low and high else mean


def cell(value: object) -> Cell:
    """A plain value: text, a whole number, a figure (``number``), yes or no; EMPTY for None.

    >>> cell(1200).text, cell(0.5).text, cell(None) is EMPTY
    ('1,200', '0.500', True)
    """
    if isinstance(value, bool):
        return Cell(str(value).lower())
    if isinstance(value, int | float):
        return Cell(f"{value:,}" if isinstance(value, int) else number(value), value)
    return EMPTY if value is None else Cell(str(value), str(value))


def figure_cell(
    found: Estimate | None, change: Estimate | None = None, *, strong: bool = False, lower_is_better: bool = False
) -> Cell:
    """A mean; below it its interval, and the difference to the baseline with its own."""
    if found is None:
        return EMPTY
    mean, _, span = with_interval(found).partition(" ")
    notes, sign = [span] if span else [], 0
    if change is not None:
        notes.append(f"Δ {with_interval(change, True, found.mean)}")
        better = change.negated() if lower_is_better else change
        sign = 1 if better.above else -1 if better.below else 0
    return Cell(mean, found.mean, tuple(notes), strong, sign)


@dataclass(frozen=True, slots=True)
class Group:
    """A section of the page. ``folded``: its tables open on a click."""

    id: str
    title: str
    tables: list[Table]
    text: str = ""
    folded: bool = False


def named(text: str) -> Markup:
    """Text, escaped, with systems' indices set low and comparisons as one sign.

    >>> str(named("Tuna_c (PRM) <= Tuna_c")), str(named("<b>"))
    ('Tuna<sub>c</sub> (PRM) ≤ Tuna<sub>c</sub>', '&lt;b&gt;')
    """
    safe = str(escape(text)).replace("&gt;=", "≥").replace("&lt;=", "≤")
    return Markup(re.sub(r"\bTuna_([a-z]+)", r"Tuna<sub>\1</sub>", safe))


def render(**values: object) -> str:
    """The page. Whatever comes from data is escaped; only the project's own style and script are not."""
    environment = Environment(
        loader=FileSystemLoader(_PAGE), autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True
    )
    environment.filters["named"] = named
    environment.filters["inline"] = lambda path: base64.b64encode(path.read_bytes()).decode("ascii")
    own = {name: Markup((_PAGE / f"report.{name}").read_text(encoding="utf-8")) for name in ("css", "js")}
    return environment.get_template("report.html.j2").render(**own, **values)
