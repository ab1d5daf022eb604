"""Results as they stand on the screen, and what a measured model is called in them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tuna.runs import read_run

SHOWN_ROWS = 40


def model_name(path: str) -> str:
    """What a model is called in results: its run's name, else its folder's, or a hub id's last part.

    >>> model_name("tiny"), model_name("owner/model-7b"), model_name("/models/llama/")
    ('tiny', 'model-7b', 'llama')
    """
    folder = run_of(path)
    if folder is not None:
        return str(read_run(folder).get("name", folder.name)).replace("/", "-")
    return path.rstrip("/").rpartition("/")[2] or "model"


def run_of(path: str) -> Path | None:
    """The run folder that ``path`` (a run's folder or its model/) belongs to, None where it is no run's."""
    folder = Path(path).expanduser()
    return next((f for f in (folder, folder.parent) if folder.is_dir() and (f / "run.json").is_file()), None)


def lines_of(results: Mapping[str, Any]) -> list[str]:
    """The figures as a person reads them."""
    coverage, found = results["coverage"], []
    for name, value in results["scores"].items():
        line = f"{'*' if name == results['primary'] else ' '} {name:<24} {_number(value):>9}"
        if name in results["intervals"]:
            line += "  [{}, {}]".format(*map(_number, results["intervals"][name]))
        for who, other in results["baselines"].get(name, {}).items():
            line += f"  {who} {_number(other)}"
        found.append(line)
    without = {*coverage["missing"], *coverage.get("empty", ())}
    line = f"answered: {coverage['N'] - len(without)} of {coverage['N']}"
    for what in ("missing", "empty", "cut"):
        if ids := coverage.get(what):
            line += f"; {what}: {', '.join(ids[:5])}" + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")
    found.append(line)
    for name, rows in results["tables"].items():
        if rows and len(rows) <= SHOWN_ROWS:
            found += ["", f"{name}:", *table(rows)]
    return [*found, *(f"note: {note}" for note in results["notes"])]


def _number(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else "-" if value is None else str(value)


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Rows in columns.

    >>> table([{"task": "plural", "n": 15, "accuracy": 0.5}, {"task": "add", "n": 3, "accuracy": None}])
    ['  task    n  accuracy', '  plural  15   0.5000', '  add      3        -']
    """
    columns = []
    for name in dict.fromkeys(name for row in rows for name in row):
        cells = [name, *(_number(row.get(name)) for row in rows)]
        width, text = max(map(len, cells)), all(isinstance(row.get(name), str) for row in rows)
        columns.append([cell.ljust(width) if text else cell.rjust(width) for cell in cells])
    return ["  " + "  ".join(cells).rstrip() for cells in zip(*columns, strict=True)]
