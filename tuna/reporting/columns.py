"""Which results stand in one column: the same benchmark under the same settings, whoever was measured."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tuna.reporting.read import Measured, paper


@dataclass(frozen=True, slots=True)
class Column:
    """A score of a benchmark under one choice of settings, or (RUN_COLUMNS) a figure of run.json.

    key: its name, unlike any other. changed: the settings that set it apart from other columns of the benchmark.
    beside: for a further score of the same results, the key of the column of the primary one; else empty.
    """

    key: str
    benchmark: str
    score: str
    lower_is_better: bool
    changed: tuple[tuple[str, Any], ...] = ()
    beside: str = ""

    @property
    def held(self) -> str:
        """The key that systems hold the results under."""
        return self.beside or self.key

    @property
    def of_runs(self) -> bool:
        """Whether runs measured it themselves."""
        return self.key in _RUN_TITLES

    @property
    def title(self) -> str:
        """Its heading.

        >>> Column("super_ni examples=2", "super_ni", "rougeL", False, (("benchmark.examples", 2),)).title
        'Super NI, 2-shot'
        """
        if self.of_runs:
            return _RUN_TITLES[self.key]
        name = str(paper()["benchmarks"].get(self.benchmark, self.benchmark))
        rest = self.held.removeprefix(self.benchmark).strip()
        for key, value in self.changed:
            key = key.rpartition(".")[2]
            form = paper()["settings"].get(f"{self.benchmark}.{key}")
            rest = rest.replace(f"{key}={value}", form.format(value)) if form else rest
        name = f"{name}, {rest.replace('=', ' ')}" if rest else name
        return f"{name}: {self.score}" if self.beside else name

    @property
    def direction(self) -> str:
        """What a heading adds where a lower figure is better."""
        return " (lower is better)" if self.lower_is_better else ""


_RUN_TITLES = {
    "run:val/task_accuracy": "task accuracy (of the run)",
    "run:val/open_ended_mark": "open-ended mark (of the run)",
    "run:val/pair_accuracy": "held-out pair accuracy (of the run)",
    "run:val/loss_ce": "held-out cross-entropy (of the run)",
}
RUN_COLUMNS = tuple(Column(k, k, k.removeprefix("run:"), k.endswith("loss_ce")) for k in _RUN_TITLES)
TASK_ACCURACY, OPEN_ENDED_MARK, PAIR_ACCURACY, CROSS_ENTROPY = RUN_COLUMNS


def find_columns(results: Sequence[Measured]) -> dict[Path, Column]:
    """The column of each result, by its file."""
    found: dict[Path, Column] = {}
    for benchmark in sorted({result.benchmark for result in results}):
        of = [result for result in results if result.benchmark == benchmark]
        kept = {r.path: {k: v for k, v in r.settings.items() if not _is_of_the_system(k)} for r in of}
        differ = differing([*kept.values()])
        several = len({result.primary for result in of}) > 1
        columns: dict[str, Column] = {}  # by what sets them apart
        for result in sorted(of, key=lambda r: [_orderable(kept[r.path].get(key)) for key in differ]):
            changed = tuple((key, kept[result.path].get(key)) for key in differ)
            apart = repr((changed, result.primary))
            if apart not in columns:
                name = benchmark + "".join(f" {key.rpartition('.')[2]}={_short(value)}" for key, value in changed)
                name += f" {result.primary}" if several else ""
                while name in {column.key for column in columns.values()}:
                    name += "'"
                lower = result.primary in (result.content.get("lower_is_better") or ())
                columns[apart] = Column(name, benchmark, result.primary, lower, changed)
            found[result.path] = columns[apart]
    return found


def further_scores(column: Column) -> list[Column]:
    """The columns of other scores of the same results that stand in tables too."""
    scores = paper()["further"].get(column.benchmark, ())
    return [replace(column, key=f"{column.key} {score}", score=score, beside=column.key) for score in scores]


def differing(flats: Sequence[dict[str, Any]]) -> list[str]:
    """The keys in which some of the mappings differ, sorted.

    >>> differing([{"a": 1, "b": 2}, {"a": 1, "b": 3}])
    ['b']
    """
    keys = sorted({key for flat in flats for key in flat})
    return [key for key in keys if len({repr(flat.get(key)) for flat in flats}) > 1]


def _is_of_the_system(key: str) -> bool:
    """Whether a setting says how a system's own answers came about, or against whose they were judged."""
    parts = key.split(".")
    return parts[0] in ("generation", "model") or parts[-1] == "seed" or any(p.startswith("baseline") for p in parts)


def _orderable(value: Any) -> tuple[int, float, str]:
    return (0, float(value), "") if isinstance(value, int | float) else (1, 0.0, str(value))


def _short(value: Any) -> str:
    """A hash by its first eight letters."""
    text = str(value)
    return text[:8] if len(text) >= 32 else text
