"""Which results stand in one column: the same benchmark under the same settings, whoever was measured."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tuna.reporting.paper import paper
from tuna.reporting.read import Measured, flatten

# How a system's own answers came about, and against whose answers of the same seed they were judged.
_OF_THE_SYSTEM = ("generation", "model")
_AGAINST = "baseline"


@dataclass(frozen=True, slots=True)
class Column:
    """A score of a benchmark under one choice of settings.

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


class Columns:
    """The columns of a set of results, and which of them a result stands in."""

    def __init__(self, results: Sequence[Measured]) -> None:
        by_benchmark: dict[str, dict[str, list[Measured]]] = defaultdict(lambda: defaultdict(list))
        for result in results:
            by_benchmark[result.benchmark][_signature(result)].append(result)
        self._of: dict[tuple[str, str], Column] = {}
        for benchmark in sorted(by_benchmark):
            self._enter(benchmark, by_benchmark[benchmark])
        self.all: list[Column] = list(self._of.values())
        self.further: list[Column] = [
            replace(column, key=f"{column.key} {score}", score=score, beside=column.key)
            for column in self.all
            for score in paper()["further"].get(column.benchmark, ())
        ]

    def _enter(self, benchmark: str, groups: dict[str, list[Measured]]) -> None:
        flats = {signature: flatten(json.loads(signature)[1]) for signature in groups}
        keys = sorted({key for flat in flats.values() for key in flat})
        differ = [key for key in keys if len({repr(flat.get(key)) for flat in flats.values()}) > 1]
        for signature in sorted(groups, key=lambda s: [_orderable(flats[s].get(key)) for key in differ]):
            first = groups[signature][0]
            changed = tuple((key, flats[signature].get(key)) for key in differ)
            several = {json.loads(other)[0] for other in groups}
            name = benchmark + "".join(f" {key.rpartition('.')[2]}={_short(value)}" for key, value in changed)
            name += f" {first.primary}" if len(several) > 1 else ""
            key = name
            while any(column.key == key for column in self._of.values()):
                key += "'"
            column = Column(key, benchmark, first.primary, first.lower_is_better(first.primary), changed)
            self._of[(benchmark, signature)] = column

    def of(self, result: Measured) -> Column:
        """The column of one of the results."""
        return self._of[(result.benchmark, _signature(result))]


def _signature(result: Measured) -> str:
    settings = dict(result.content.get("settings") or {})
    kept = {k: v for k, v in flatten(settings).items() if not _is_of_the_system(k)}
    return json.dumps([result.primary, kept], sort_keys=True, default=str)


def _is_of_the_system(key: str) -> bool:
    parts = key.split(".")
    return parts[0] in _OF_THE_SYSTEM or parts[-1] == "seed" or any(part.startswith(_AGAINST) for part in parts)


def _orderable(value: Any) -> tuple[int, float, str]:
    if isinstance(value, int | float):
        return 0, float(value), ""
    return 1, 0.0, str(value)


def _short(value: Any) -> str:
    """A hash by its first eight letters.

    >>> _short("0123456789abcdef" * 4), _short(2)
    ('01234567', '2')
    """
    text = str(value)
    return text[:8] if len(text) >= 32 else text
