"""Which results stand in one column: the same benchmark under the same settings, whoever was measured."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tuna.reporting.read import Measured, paper

# How a system's own answers came about, and against whose answers of the same seed they were judged.
_OF_THE_SYSTEM = ("generation", "model")
_AGAINST = "baseline"


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
    groups: dict[str, dict[str, list[Measured]]] = defaultdict(lambda: defaultdict(list))
    for result in results:
        kept = {key: value for key, value in result.settings.items() if not _is_of_the_system(key)}
        signature = json.dumps([result.primary, kept], sort_keys=True, default=str)
        groups[result.benchmark][signature].append(result)
    found: dict[Path, Column] = {}
    for benchmark, by_signature in sorted(groups.items()):
        flats = [json.loads(signature) for signature in by_signature]
        differ = differing([flat for _, flat in flats])
        several = len({primary for primary, _ in flats}) > 1
        taken: set[str] = set()
        alike = zip(flats, by_signature.values(), strict=True)
        for (primary, flat), same in sorted(
            alike, key=lambda pair: [_orderable(pair[0][1].get(key)) for key in differ]
        ):
            changed = tuple((key, flat.get(key)) for key in differ)
            key = benchmark + "".join(f" {key.rpartition('.')[2]}={_short(value)}" for key, value in changed)
            key += f" {primary}" if several else ""
            while key in taken:
                key += "'"
            taken.add(key)
            column = Column(key, benchmark, primary, primary in (same[0].content.get("lower_is_better") or ()), changed)
            found |= {result.path: column for result in same}
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
    parts = key.split(".")
    return parts[0] in _OF_THE_SYSTEM or parts[-1] == "seed" or any(part.startswith(_AGAINST) for part in parts)


def _orderable(value: Any) -> tuple[int, float, str]:
    return (0, float(value), "") if isinstance(value, int | float) else (1, 0.0, str(value))


def _short(value: Any) -> str:
    """A hash by its first eight letters.

    >>> _short("0123456789abcdef" * 4), _short(2)
    ('01234567', '2')
    """
    text = str(value)
    return text[:8] if len(text) >= 32 else text
