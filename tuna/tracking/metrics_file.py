"""metrics.csv: the figures of a run as a table that a person can open."""

import csv
import io
import math
import os
from argparse import Namespace
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger

from tuna.training import distributed


class MetricsFile(Logger):
    """metrics.csv: a row a logged step, a column a metric; new columns are added as they come, at the end.

    A row that comes again (same step, same columns: the run was killed after it and resumed) replaces the old one.
    Process 0 alone reads and writes it.
    """

    def __init__(self, path: Path, start_step: int = 0) -> None:
        super().__init__()
        self.path = path
        self.columns = ["step"]
        self.rows: list[dict[str, str]] = []
        if distributed.rank() == 0 and path.exists():
            self._read(start_step)
            self._rewrite()

    @property
    def name(self) -> str:
        """The kind of logger."""
        return "metrics"

    @property
    def version(self) -> str:
        """The file."""
        return self.path.name

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: run.json holds the config."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Append one row, and flush it."""
        finite = {k: float(v) for k, v in metrics.items() if k != "epoch" and math.isfinite(v)}
        row = {"step": str(step or 0)} | {k: repr(v) for k, v in finite.items()}
        if len(row) == 1 or distributed.rank() != 0:
            return
        added = [key for key in row if key not in self.columns]
        self.columns += added
        if self._put(row) or added or not self.path.exists():
            self._rewrite()
            return
        with self.path.open("a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, self.columns, restval="").writerow(row)

    def _put(self, row: dict[str, str]) -> bool:
        """Add ``row``; True when it took the place of an older one."""
        for index in range(len(self.rows) - 1, -1, -1):
            if int(self.rows[index]["step"]) < int(row["step"]):
                break  # steps ascend
            if _filled(self.rows[index]) == _filled(row) and self.rows[index]["step"] == row["step"]:
                self.rows[index] = row
                return True
        self.rows.append(row)
        return False

    def _read(self, start_step: int) -> None:
        text = self.path.read_text(encoding="utf-8", errors="replace")
        text = text[: text.rfind("\n") + 1]  # what a killed process was writing has no end
        reader = csv.DictReader(io.StringIO(text, newline=""))
        self.columns = list(reader.fieldnames or ["step"])
        for row in reader:
            whole = None not in row and None not in row.values()
            if whole and row["step"].isdigit() and int(row["step"]) <= start_step:
                self._put(row)

    def _rewrite(self) -> None:
        temporary = self.path.with_suffix(".csv.tmp")
        with temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, self.columns, restval="")
            writer.writeheader()
            writer.writerows(self.rows)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path)


def _filled(row: dict[str, str]) -> set[str]:
    return {column for column, value in row.items() if value}
