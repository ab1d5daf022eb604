"""What each column is: asked of what, marked by whom, and whether that one made lists that systems were tuned on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuna.reporting.columns import Column
from tuna.reporting.compare import Comparison
from tuna.reporting.read import Measured
from tuna.reporting.tables import Table, cell

_CAPTION = (
    "One measurement counts once: of columns over the same questions a claim takes the first whose judge made no lists "
    "of its systems."
)
_FILES = ("questions", "path", "root")  # keys of benchmarks that name what is asked


def column_table(comparison: Comparison) -> Table:
    """A row per column of results; no rows where nothing was measured."""
    rows, seen = [], dict[frozenset[str], str]()
    for column in comparison.of_results:
        asked, judge = comparison.asked(column), comparison.judge_of(column)
        made = [system.label for system in comparison.systems if judge and judge in system.rankers]
        names = [system.rankers[judge] for system in comparison.systems if judge in system.rankers]
        first = next(r for s in comparison.systems for r in s.results.get(column.held, {}).values())
        same = f", the same as those of {seen[asked]}" if asked in seen else ""
        if asked:
            seen.setdefault(asked, column.title)
        by = (names or [_judge(first, judge)])[0]
        rows.append([cell(column.title), cell(_figure(column)), cell(f"{_asked(first, len(asked))}{same}"), cell(by),
                     cell(", ".join(dict.fromkeys(made)) or "none")])  # fmt: skip
    head = ["column", "figure", "asked of", "by", "lists by the same"]
    return Table("columns", "What the columns are", _CAPTION, head, rows, numeric=False)


def _figure(column: Column) -> str:
    return f"{column.score}{column.direction}"


def _asked(result: Measured, count: int) -> str:
    """The file or clone that was asked from, by its name; without one the embedded questions."""
    node: Mapping[str, Any] = (result.content.get("config") or {}).get("benchmark") or {}
    name = next((Path(str(node[key])).name for key in _FILES if node.get(key)), "the embedded questions")
    baseline = node.get("baseline")
    against = f", compared with {Path(str(baseline)).name}" if baseline else ""
    return f"{name} ({count or result.coverage[1]}){against}"


def _judge(result: Measured, key: str) -> str:
    """In words whose opinion it is; a rule where it is nobody's."""
    node: Mapping[str, Any] = (result.content.get("config") or {}).get("judge") or {}
    if not key:
        return "its own rule"
    kind = str(result.settings.get("judge.judge") or key)
    name = node.get("path") or node.get("model") or node.get("by")
    return f"{kind} {Path(str(name)).name}" if name else kind
