"""Figures of systems in columns, with intervals, and their differences; from results, or from the runs themselves."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache, cached_property
from statistics import fmean

from tuna.reporting.columns import PAIR_ACCURACY, Column
from tuna.reporting.read import Measured, paper, place_in_order, read_examples
from tuna.reporting.systems import System
from tuna.stats import Estimate, as_share, crossed, difference, over_seeds

Terms = Sequence[tuple[float, System]]  # weights, of what
_ROUNDED = 1e-3  # how far a mean over examples may be from the benchmark's own figure, which may be rounded


class Comparison:
    """All systems, and the one that differences are taken to (None where there is no such system)."""

    def __init__(self, systems: Sequence[System], columns: Iterable[Column], baseline: str) -> None:
        self.systems = sorted(systems, key=lambda system: place_in_order(system.label, system.base))
        self.columns = list({column.key: column for column in columns}.values())
        self.baseline = self._find_baseline(baseline.lower())
        names = ", ".join(dict.fromkeys(system.base for system in self.systems)) or "none"
        self.notes: list[str] = []
        if self.baseline is None:
            none = f"there is no system {baseline!r} to take differences to (baseline=...)"
            self.notes.append(f"{none}; there are: {names}")
        elif self.baseline.label.lower() != baseline.lower():
            self.notes.append(f"differences are to {self.baseline.label}, the only system of stage sft")

    def _find_baseline(self, name: str) -> System | None:
        labeled = [system for system in self.systems if system.label.lower() == name]
        if named := labeled or [system for system in self.systems if system.base.lower() == name]:
            return named[0]
        tuned = [system for system in self.systems if system.stage == "sft"]
        return tuned[0] if len(tuned) == 1 else None

    @cached_property
    def of_results(self) -> list[Column]:
        """Columns that a system has a result in, in the order of the benchmarks' names in the paper."""
        order, further = list(paper()["benchmarks"]), paper()["further"]
        beside = [
            replace(column, key=f"{column.key} {score}", score=score, title=f"{column.title}: {score}")
            for column in self.columns
            for score in further.get(column.benchmark, ())
        ]
        found = [column for column in (*self.columns, *beside) if self.measured(self.systems, column)]
        return sorted(found, key=lambda c: (order.index(c.benchmark) if c.benchmark in order else len(order), c.held))

    def measured(self, systems: Iterable[System], column: Column) -> int:
        """How many of the systems have a figure in a column."""
        return sum(bool(self.values(system, column)) for system in systems)

    def values(self, system: System, column: Column, score: str | None = None) -> dict[int, float]:
        """The figure of each seed that has one; ``score`` other than the column's own."""
        if column.of_runs:
            held = {seed: run.metrics for seed, run in system.runs.items()}
        else:
            held = {seed: result.scores for seed, result in system.results.get(column.held, {}).items()}
        name = score or column.score
        return {seed: held[seed][name] for seed in sorted(held) if name in held[seed]}

    def estimate(self, system: System, column: Column, score: str | None = None) -> Estimate | None:
        """Mean over seeds with its interval, over seeds and questions where the score is a mean of these; with one seed
        the benchmark's own interval over its questions. That of a share stays between 0 and 1.
        """
        values = self.values(system, column, score)
        if not values:
            return None
        found = over_seeds(list(values.values()))
        if found.n > 1:
            if table := self._table([(1.0, system)], replace(column, score=score or column.score)):
                found = replace(crossed(table), mean=found.mean)
            whole = paper()["whole"].get(column.benchmark) if score in (None, column.score) else None
            return as_share(found, whole) if whole else found
        seed = next(iter(values))
        if not column.of_runs:
            interval = system.results[column.held][seed].interval(score or column.score)
        else:
            after = system.runs[seed].content.get("after") or {}
            interval = after.get("pair_accuracy_interval") if column == PAIR_ACCURACY else None
        return Estimate(found.mean, interval[0], interval[1], 1, "over questions, one seed") if interval else found

    def versus(self, system: System, other: System | None, column: Column) -> Estimate | None:
        """``system`` minus ``other``: over seeds and questions where the score is a mean of these, else by seed."""
        if other is None or other is system:
            return None
        mine, theirs = self.values(system, column), self.values(other, column)
        terms: Terms = [(1.0, system), (-1.0, other)]
        if table := self._table(terms, column):
            change = crossed(table)
            once = [of.label for of, values in ((system, mine), (other, theirs)) if len(values) < change.n]
            return replace(change, how="; ".join([change.how, *(f"of {label} one model" for label in once)]))
        found = difference(mine, theirs)
        if mine and column.benchmark in paper()["even"] and (found is None or found.low is None):
            return self._against(system, other, column) or found
        return found

    def combined(self, terms: Terms, column: Column, less: float = 0.0) -> Estimate | None:
        """The sum of weights times figures, less a number: over seeds and questions, else paired by seed, else without
        an interval.
        """
        values = [(weight, self.values(system, column)) for weight, system in terms]
        if not all(found for _, found in values):
            return None
        if table := self._table(terms, column):
            return crossed([[value - less for value in row] for row in table])
        common = sorted(set.intersection(*(set(found) for _, found in values)))
        if len(common) >= 2:
            found = over_seeds([sum(weight * held[seed] for weight, held in values) - less for seed in common])
            return replace(found, how="paired by seed")
        return Estimate(sum(weight * fmean(held.values()) for weight, held in values) - less)

    def _against(self, system: System, other: System, column: Column) -> Estimate | None:
        """The benchmark's own comparison with ``other``: its win rate less that of equals, where it was ``other``."""
        known = {result.model.get("fingerprint") for held in other.results.values() for result in held.values()}
        settings = [pair for result in system.results[column.held].values() for pair in result.settings.items()]
        opponents = {value for key, value in settings if key.rpartition(".")[2] == "baseline"}
        found = self.estimate(system, column)
        if found is None or not opponents or not opponents <= known:
            return None
        even = float(paper()["even"][column.benchmark])
        low, high = (None if end is None else end - even for end in (found.low, found.high))
        return Estimate(found.mean - even, low, high, found.n, "win rate less that of equals")

    def _table(self, terms: Terms, column: Column) -> list[list[float]] | None:
        """The weighted sums of the marks of each seed that all terms have, on each question that all have answered.

        None where the score is no mean over questions. A system with one seed stands beside every seed of the others:
        it is one model, such as the start of them all, and what is found is of that very model.
        """
        if column.of_runs:
            return None
        held = [system.results.get(column.held, {}) for _, system in terms]
        if not all(held):
            return None
        several = [set(of) for of in held if len(of) > 1]
        chosen = [
            [of[seed] if len(of) > 1 else next(iter(of.values())) for of in held]
            for seed in (sorted(set.intersection(*several)) if several else [0])
        ]
        if not chosen:
            return None
        marks = [[marks_of(result, column.score) for result in row] for row in chosen]
        keys = {frozenset(each) for row in marks for each in row}
        if len(keys) != 1 or not next(iter(keys)):
            return None
        largest = max(mark for row in marks for each in row for mark in each.values())
        percent = largest <= 1 and max(abs(result.scores[column.score]) for row in chosen for result in row) > 1.5
        weights = [100.0 * weight if percent else weight for weight, _ in terms]
        return [
            [sum(weight * each[key] for weight, each in zip(weights, row, strict=True)) for key in sorted(marks[0][0])]
            for row in marks
        ]

    def judge_of(self, column: Column) -> str:
        """Whose opinion the figures of a column are, as ``System.rankers`` names it; empty where they are nobody's."""
        if known := paper()["opinions"].get(f"{column.benchmark} {column.score}"):
            return str(known)
        for system in self.systems:
            for result in system.results.get(column.held, {}).values():
                return str(result.settings.get("judge.model") or result.settings.get("judge.judge") or "")
        return ""

    def asked(self, column: Column) -> frozenset[str]:
        """The ids of the questions that the figures of a column are means over; none where they are no such means."""
        results = [result for system in self.systems for result in system.results.get(column.held, {}).values()]
        return frozenset(name for result in results[:1] for _, name in marks_of(result, column.score))

    def best(self, columns: Sequence[Column], systems: Sequence[System]) -> dict[str, set[str]]:
        """The two best systems of each column, as the paper prints in bold; none where there are fewer than three."""
        out: dict[str, set[str]] = {}
        for column in columns:
            found = {s.label: e.mean for s in systems if (e := self.estimate(s, column))}
            ranked = sorted(found, key=lambda label: (found[label] if column.lower_is_better else -found[label], label))
            out[column.key] = set(ranked[:2]) if len(ranked) >= 3 else set()
        return out


@cache
def marks_of(result: Measured, score: str) -> Mapping[tuple[str, str], float]:
    """By task and id the score of each example that has it; none where their mean is not the benchmark's figure."""
    found = {
        place: float(value)
        for place, row in read_examples(result.path).items()
        if isinstance(value := (row.get("scores") or {}).get(score), int | float)
    }
    mean = fmean(found.values()) if found else math.nan
    near = any(abs(factor * mean - result.scores[score]) <= _ROUNDED * factor for factor in (1.0, 100.0))
    return found if near else {}
