"""Which results stand in one column: the same benchmark under the same settings, whoever was measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuna.reporting.read import Measured, paper


@dataclass(frozen=True, slots=True)
class Column:
    """A score of a benchmark under one choice of settings, or (RUN_COLUMNS) a figure of run.json."""

    key: str
    benchmark: str
    score: str
    lower_is_better: bool
    title: str
    held: str = ""  # the key of the primary score's column, by which systems hold the results; empty: runs measured it

    @property
    def of_runs(self) -> bool:
        """Whether runs measured it themselves."""
        return not self.held

    @property
    def beside(self) -> bool:
        """Whether it is a further score of results that have a column already."""
        return self.held not in ("", self.key)

    @property
    def direction(self) -> str:
        """What a heading adds where a lower figure is better."""
        return " (lower is better)" if self.lower_is_better else ""


_OF_RUNS = {
    "val/task_accuracy": "task accuracy",
    "val/open_ended_mark": "open-ended mark",
    "val/pair_accuracy": "held-out pair accuracy",
    "val/loss_ce": "held-out cross-entropy",
}
RUN_COLUMNS = tuple(
    Column(f"run:{score}", f"run:{score}", score, score == "val/loss_ce", f"{words} (of the run)")
    for score, words in _OF_RUNS.items()
)
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
            changed = [(key, kept[result.path].get(key)) for key in differ]
            apart = repr((changed, result.primary))
            if apart not in columns:
                primary = [result.primary] if several else []
                parts = [f"{key.rpartition('.')[2]}={_short(value)}" for key, value in changed]
                name = " ".join([benchmark, *parts, *primary])
                while name in {column.key for column in columns.values()}:
                    name, primary = f"{name}'", [*primary, "'"]
                lower = result.primary in (result.content.get("lower_is_better") or ())
                looked = [("limit", kept[result.path].get("limit"))] * ("limit" not in differ)  # said in any case
                title = _title(benchmark, [*changed, *(pair for pair in looked if pair[1])], primary)
                columns[apart] = Column(name, benchmark, result.primary, lower, title, name)
            found[result.path] = columns[apart]
    return found


def _title(benchmark: str, changed: Sequence[tuple[str, Any]], rest: Sequence[str] = ()) -> str:
    """A heading, by the settings that set a column apart from others of the benchmark.

    >>> _title("super_ni", [("benchmark.examples", 2)])
    'Super NI, 2-shot'
    """
    words = []
    for key, value in changed:
        last = key.rpartition(".")[2]
        if key == "limit":
            words.append(f"a quick look at {value} questions" if value else "all questions")
            continue
        words.append(paper()["settings"].get(f"{benchmark}.{last}", f"{last} {{}}").format(_short(value)))
    name = str(paper()["benchmarks"].get(benchmark, benchmark))
    return ", ".join(filter(None, [name, " ".join([*words, *rest])]))


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


def _orderable(value: object) -> tuple[int, float, str]:
    return (0, float(value), "") if isinstance(value, int | float) else (1, 0.0, str(value))


def _short(value: object) -> str:
    """A hash by its first eight letters."""
    text = str(value)
    return text[:8] if len(text) >= 32 else text
