"""The results folder: ``results/<benchmark>/<model>-<fingerprint>-<settings>/``, and what stands on the screen."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tuna.runs import read_run

SCHEMA_VERSION = 1
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
    coverage = results["coverage"]
    found = [_score_line(name, results) for name in results["scores"]]
    lacking = "".join(_some(what, coverage.get(what) or ()) for what in ("missing", "empty", "cut"))
    without = {*coverage["missing"], *coverage.get("empty", ())}
    found.append(f"answered: {coverage['N'] - len(without)} of {coverage['N']}{lacking}")
    for name, rows in results["tables"].items():
        if rows and len(rows) <= SHOWN_ROWS:
            found += ["", f"{name}:", *table(rows)]
    return [*found, *(f"note: {note}" for note in results["notes"])]


def _some(what: str, ids: Sequence[str]) -> str:
    if not ids:
        return ""
    return f"; {what}: {', '.join(ids[:5])}" + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")


def _score_line(name: str, results: Mapping[str, Any]) -> str:
    mark = "*" if name == results["primary"] else " "
    line = f"{mark} {name:<24} {_number(results['scores'][name]):>9}"
    if name in results["intervals"]:
        low, high = results["intervals"][name]
        line += f"  [{_number(low)}, {_number(high)}]"
    beside = results["baselines"].get(name, {})
    return line + "".join(f"  {who} {_number(value)}" for who, value in beside.items())


def _number(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else "-" if value is None else str(value)


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Rows in columns.

    >>> table([{"task": "plural", "n": 15, "accuracy": 0.5}, {"task": "add", "n": 3, "accuracy": None}])
    ['  task    n  accuracy', '  plural  15   0.5000', '  add      3        -']
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [names, *([_number(row.get(name)) for name in names] for row in rows)]
    width = [max(len(line[column]) for line in cells) for column in range(len(names))]
    left = [all(isinstance(row.get(name), str) for row in rows) for name in names]
    return ["  " + "  ".join(_cells(line, width, left)).rstrip() for line in cells]


def _cells(line: Sequence[str], width: Sequence[int], left: Sequence[bool]) -> Iterator[str]:
    for text, size, to_left in zip(line, width, left, strict=True):
        yield text.ljust(size) if to_left else text.rjust(size)
