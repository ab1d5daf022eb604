"""One's own runs: their curves, their held-out figures and their answers before and after, the newest first."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from tuna.errors import DataError
from tuna.reporting.read import Row, Run, read_rows
from tuna.reporting.tables import EMPTY, Cell, Group, Table, cell

_RUNS, _ANSWERS = 6, 3  # that are shown, of each run
_FIGURES = ("pair_accuracy", "loss", "task_accuracy")


def own_runs(runs: Sequence[Run], figures: Path, problems: list[str]) -> Group | None:
    """The newest finished runs outside of sweeps; None where there is none. Curves are copied into ``figures``."""
    finished = [run for run in runs if run.status == "finished" and run.sweep is None]
    shown = sorted(finished, key=lambda run: str(run.content.get("ended")), reverse=True)[:_RUNS]
    if not shown:
        return None
    curves = []
    for run in shown:
        if (drawn := run.path / "curves.png").is_file():
            place = figures / f"run-{re.sub(r'[^A-Za-z0-9.-]+', '-', run.name)}.png"
            shutil.copyfile(drawn, place)
            curves.append((place, f"{run.name}: loss and pair accuracy over the steps"))
    words = [key.replace("_", " ") for key in _FIGURES]
    head = ["run", "stage", *(f"{word} {when}" for word in words for when in ("before", "after"))]
    rows = [[Cell(run.name), Cell(run.stage), *_before_and_after(run)] for run in shown]
    left = (
        f" {len(finished) - len(shown)} older runs are in the table of all runs." if len(finished) > len(shown) else ""
    )
    caption = f"The newest runs that are finished, each on its own held-out lists.{left}"
    answers = [row for run in shown for row in _answers(run, problems)]
    beside = "Greedy answers to held-out instructions, spread over samples.jsonl of each run."
    tables = [
        Table("own", "Newest runs, before and after", caption, head, rows, figures=curves),
        Table("samples", "Answers before and after", beside, ["run", "instruction", "before", "after"], answers,
              numeric=False),
    ]  # fmt: skip
    return Group("own", "Your runs", [table for table in tables if table.rows])


def _before_and_after(run: Run) -> list[Cell]:
    keys = [f"{when}/{key}" for key in _FIGURES for when in ("before", "val")]
    return [cell(run.metrics[key]) if key in run.metrics else EMPTY for key in keys]


def _answers(run: Run, problems: list[str]) -> list[list[Cell]]:
    try:
        rows: list[Row] = read_rows(run.path / "samples.jsonl")
    except DataError as error:
        problems.append(str(error))
        return []
    chosen = [rows[n * len(rows) // _ANSWERS] for n in range(min(_ANSWERS, len(rows)))]
    asked = ("\n".join(str(row[key]) for key in ("instruction", "input") if row.get(key)) for row in chosen)
    return [
        [Cell(run.name), Cell(question), *(Cell(str(row.get(key) or "(nothing)")) for key in ("before", "after"))]
        for question, row in zip(asked, chosen, strict=True)
    ]
