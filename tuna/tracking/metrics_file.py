"""metrics.csv: the figures of a run as a table that a person can open."""

import csv
import io
import math
from collections.abc import Mapping
from pathlib import Path

from tuna.files import replacing


class MetricsFile:
    """metrics.csv: one row per logged step, one column per metric; new columns are added at the end as they come.

    A row that comes again (same step, same columns: the run was killed after it and resumed) replaces the old one.
    start_step: the step that the run goes on from; rows of later steps are dropped, since these steps come again.
    """

    def __init__(self, path: Path, start_step: int = 0) -> None:
        self.path = path
        self.columns = ["step"]
        self.rows: dict[tuple[str, frozenset[str]], dict[str, str]] = {}  # by step and filled columns, in order
        if not path.exists():
            return
        text = path.read_text(encoding="utf-8", errors="replace")
        text = text[: text.rfind("\n") + 1]  # what a killed process was writing has no end
        reader = csv.DictReader(io.StringIO(text, newline=""))
        self.columns = list(reader.fieldnames or ["step"])
        for row in reader:
            whole = None not in row and None not in row.values()
            if whole and row["step"].isdigit() and int(row["step"]) <= start_step:
                self.rows[_key(row)] = row
        self._rewrite()

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Append one row and flush it. NaN and infinity are left out."""
        row = {"step": str(step)} | {k: repr(float(v)) for k, v in metrics.items() if math.isfinite(v)}
        if len(row) == 1:
            return
        added = [key for key in row if key not in self.columns]
        self.columns += added
        appends = not added and _key(row) not in self.rows and self.path.exists()
        self.rows[_key(row)] = row
        if not appends:
            self._rewrite()
            return
        with self.path.open("a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, self.columns, restval="").writerow(row)

    def _rewrite(self) -> None:
        with replacing(self.path) as file:
            writer = csv.DictWriter(file, self.columns, restval="")
            writer.writeheader()
            writer.writerows(self.rows.values())


def _key(row: Mapping[str, str]) -> tuple[str, frozenset[str]]:
    return row["step"], frozenset(column for column, value in row.items() if value)
