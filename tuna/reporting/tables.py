"""A table once, written as Markdown, as LaTeX, or by the page's template."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from tuna.stats import Estimate

_SYSTEM = re.compile(r"^((?:mix-)?Tuna)_([a-z]+)(.*)$", re.DOTALL)
_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "Δ": r"$\Delta$", "\n": " ", "\r": " ", "\t": " ",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cell:
    """``text``, what it sorts by, lines in small print below it (an interval, a difference), and how it looks.

    sign: 1 or -1 for a difference whose whole interval is better or worse, which gets a colour; 0 else.
    """

    text: str
    value: float | str | None = None
    notes: tuple[str, ...] = ()
    strong: bool = False
    sign: int = 0


EMPTY = Cell("-", None)


@dataclass(frozen=True, slots=True)
class Table:
    """``key``: its file's name. ``head``: one heading a column; the first column names the rows.

    numeric: whether all columns but the first hold numbers (set to the right).
    """

    key: str
    title: str
    caption: str
    head: list[str]
    rows: list[list[Cell]]
    notes: list[str] = field(default_factory=list)
    numeric: bool = True

    def markdown(self) -> str:
        """With caption and notes; the small print of a cell behind its text."""
        lines = [f"# {self.title}", "", _md(self.caption), ""]
        lines.append(_md_row(self.head))
        lines.append("|" + "|".join(["---", *(["---:" if self.numeric else "---"] * (len(self.head) - 1))]) + "|")
        lines += [_md_row([_md_cell(cell) for cell in row], raw=True) for row in self.rows]
        if self.notes:
            lines += ["", *(f"- {_md(note)}" for note in self.notes)]
        return "\n".join([*lines, ""])

    def latex(self) -> str:
        """A table environment; needs the package booktabs."""
        columns = "l" + ("r" if self.numeric else "p{0.3\\linewidth}") * (len(self.head) - 1)
        # A row that begins with [ would be read as an argument of the line break before it.
        rows = [re.sub(r"^\[", "{}[", " & ".join(map(_tex_cell, row))) + r" \\" for row in self.rows]
        notes = "".join(f"\n% {line}" for note in self.notes for line in note.splitlines())
        return "\n".join(
            [
                r"% \usepackage{booktabs}" + notes,
                r"\begin{table}",
                r"\centering\small",
                rf"\caption{{{latex(self.title)}. {latex(self.caption)}}}",
                rf"\label{{tab:{re.sub(r'[^a-z0-9]+', '-', self.key.lower())}}}",
                rf"\begin{{tabular}}{{{columns}}}",
                r"\toprule",
                " & ".join(latex(name) for name in self.head) + r" \\",
                r"\midrule",
                *rows,
                r"\bottomrule",
                r"\end{tabular}",
                r"\end{table}",
                "",
            ]
        )


def latex(text: str) -> str:
    r"""Text for LaTeX: every special character escaped, a system's index set low.

    >>> latex("Tuna_cp-13K (50% & more)"), latex("a_b$")
    ('Tuna$_{cp}$-13K (50\\% \\& more)', 'a\\_b\\$')
    """
    if match := _SYSTEM.match(text):
        return f"{match[1]}$_{{{match[2]}}}${_escaped(match[3])}"
    return re.sub(r"(?<!\w)-(?=\d)", "$-$", _escaped(text))  # a minus is no hyphen


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def _md(text: str) -> str:
    """Markdown in which nothing of the text is markup.

    >>> _md("a|b *c* <script>")
    'a\\\\|b \\\\*c\\\\* &lt;script&gt;'
    """
    text = re.sub(r"([\\`*_|\[\]])", r"\\\1", text)
    return " ".join(text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").split())


def _md_row(cells: Sequence[str], raw: bool = False) -> str:
    return "| " + " | ".join(cell if raw else _md(cell) for cell in cells) + " |"


def _md_cell(cell: Cell) -> str:
    text = f"**{_md(cell.text)}**" if cell.strong else _md(cell.text)
    return " <br>".join([text, *(_md(note) for note in cell.notes)])


def _tex_cell(cell: Cell) -> str:
    text = rf"\textbf{{{latex(cell.text)}}}" if cell.strong else latex(cell.text)
    return " ".join([text, *(rf"{{\scriptsize {latex(note)}}}" for note in cell.notes)])


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
    if float(text.replace(",", "")) == 0:
        text = text.lstrip("+-")
    return text


def span(found: Estimate, sign: bool = False, like: float | None = None) -> str:
    """The interval as ``[low, high]``, empty where there is none."""
    if found.low is None or found.high is None:
        return ""
    size = found.mean if like is None else like
    return f"[{number(found.low, sign, size)}, {number(found.high, sign, size)}]"


def figure_cell(
    found: Estimate | None, change: Estimate | None = None, *, strong: bool = False, lower_is_better: bool = False
) -> Cell:
    """A mean; below it its interval, and the difference to the baseline with its own."""
    if found is None:
        return EMPTY
    notes = [text for text in (span(found),) if text]
    sign, like = 0, found.mean
    if change is not None:
        notes.append(f"Δ {number(change.mean, True, like)} {span(change, True, like)}".rstrip())
        better = change.negated() if lower_is_better else change
        sign = 1 if better.above else -1 if better.below else 0
    return Cell(number(found.mean), found.mean, tuple(notes), strong, sign)
