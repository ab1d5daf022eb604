"""A sweep's table: a line a job, with what became of it."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

# The figures that a run's table shows where it has them; any other program's first ones.
SHOWN = ("val/pair_accuracy", "val/task_accuracy", "val/open_ended_mark", "val/loss")


def table(rows: Sequence[Mapping[str, Any]], optimize: str | None = None) -> list[str]:
    """Lines of a table of jobs (``job``, ``swept``, ``status``, ``metrics``, ``error``); ``optimize`` stands first.

    >>> print(*table([{"job": 0, "swept": ["seed=1"], "status": "finished", "metrics": {"val/loss": 0.5}}]), sep="\\n")
    job  settings  status    val/loss
      0  seed=1    finished  0.5000
    """
    columns = _columns(rows, optimize)
    starts = [["job", "settings", "status"]]
    starts += [[str(row["job"]), " ".join(row["swept"]) or "-", str(row["status"])] for row in rows]
    job, settings, status = (max(map(len, column)) for column in zip(*starts, strict=True))
    ends = [columns, *([_figure((row.get("metrics") or {}).get(column)) for column in columns] for row in rows)]
    for end, row in zip(ends[1:], rows, strict=True):
        if row["status"] != "finished" and row.get("error"):
            end[:] = [str(row["error"]).splitlines()[0]]
    lines = []
    for start, end in zip(starts, ends, strict=True):
        figures = [f"{cell:<{len(column)}}" for cell, column in zip_longest(end, columns, fillvalue="")]
        words = [f"{start[0]:>{job}}", f"{start[1]:<{settings}}", f"{start[2]:<{status}}", *figures]
        lines.append("  ".join(words).rstrip())
    return lines


def _columns(rows: Sequence[Mapping[str, Any]], optimize: str | None) -> list[str]:
    """The metrics shown: ``optimize``, then the usual ones, or else the first four."""
    known = list(dict.fromkeys(name for row in rows for name in row.get("metrics") or {}))
    usual = [name for name in SHOWN if name in known] or known[:4]
    return list(dict.fromkeys([optimize, *usual])) if optimize is not None and optimize in known else usual


def _figure(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    return "" if value is None else str(value)
