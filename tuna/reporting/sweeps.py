"""Families of systems that differ in one number: the lambda sweep, the amount of data, any other key."""

import json
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, count
from typing import Any

from tuna.reporting.columns import RUN_COLUMNS, Column, differing
from tuna.reporting.compare import Comparison
from tuna.reporting.read import paper, place_in_order
from tuna.reporting.systems import System, shown

Point = tuple[float, System]
_AMOUNT = ("datamodule.first", "datamodule.last")


@dataclass(frozen=True)
class Sweep:
    """Points along one config key."""

    name: str
    title: str
    key: str
    label: str  # of the x axis
    lines: dict[str, list[Point]]  # by what else differs (one line, named "", for a plain sweep), each by x
    start: System | None  # what stands at zero, for data
    columns: list[Column]  # that two points have a figure in; of the runs' own where results have none

    @property
    def points(self) -> list[Point]:
        """All of them, by x."""
        return _by_x([point for line in self.lines.values() for point in line])

    def from_start(self, points: Sequence[Point]) -> list[Point]:
        """The points behind what stands at zero."""
        return [(0.0, self.start), *points] if self.start else [*points]


def find_sweeps(comparison: Comparison) -> list[Sweep]:
    """Tagged families (``experiment.tables``) first, then any family whose systems differ in one numeric key."""
    by_base: dict[str, list[System]] = defaultdict(list)
    for system in comparison.systems:
        if system.all_runs:
            by_base[system.base].append(system)
    families = [f for base in sorted(by_base, key=place_in_order) for f in _families(base, by_base[base], comparison)]
    tagged: list[Sweep] = []
    for spec in paper()["sweeps"]:
        systems = [system for system in comparison.systems if spec["tag"] in system.tables]
        points = [(x, system) for system in systems if (x := _x(system, spec["key"])) is not None]
        if len({x for x, _ in points}) < 2:
            continue
        labels = {system.label for _, system in points}
        lines = {"": points}
        for family in [family for family in families if family.key == spec["key"]]:
            others = {system.label for _, system in family.points}
            if labels & others:
                families.remove(family)
            if labels <= others:  # the system of the main table may be a further point of the same family
                lines = family.lines
        tagged.append(_make(spec["key"], lines, comparison, spec["tag"]))
    found = tagged + families
    names = file_names([sweep.name for sweep in found])
    return [replace(sweep, name=name) for sweep, name in zip(found, names, strict=True)]


def _families(base: str, same: Sequence[System], comparison: Comparison) -> list[Sweep]:
    out = []
    for key in differing([system.flat for system in same]):
        groups: dict[str, list[Point]] = defaultdict(list)
        for system in same:
            if (x := _x(system, key)) is not None:
                rest = {k: v for k, v in system.flat.items() if k != key}
                groups[json.dumps(rest, sort_keys=True, default=str)].append((x, system))
        lines = [points for points in groups.values() if len({x for x, _ in points}) >= 2]
        if lines:
            named = {_line_name(_by_x(points)[0][1], key) if len(lines) > 1 else "": points for points in lines}
            out.append(_make(key, named, comparison, base))
    return out


def _line_name(system: System, key: str) -> str:
    other = {k: v for k, v in system.changed.items() if k != key}
    return ", ".join(f"{k.rpartition('.')[2]}={shown(v)}" for k, v in other.items()) or system.base


def _make(key: str, lines: dict[str, list[Point]], comparison: Comparison, base: str) -> Sweep:
    spec = next((spec for spec in paper()["sweeps"] if spec["key"] == key), None)
    title, label = (spec["title"], spec["words"]) if spec else (f"{base}: score and {key}", key)
    name = base if spec and base == spec["tag"] else f"{base}-{key.replace('.', '-')}"
    start = comparison.baseline if key in _AMOUNT else None
    ordered = {line: _by_x(points) for line, points in lines.items()}
    systems = [system for points in lines.values() for _, system in points]
    columns = [column for column in comparison.of_results if comparison.measured(systems, column) >= 2]
    columns = columns or [column for column in RUN_COLUMNS if comparison.measured(systems, column) >= 2]
    return Sweep(name, title, key, label, ordered, start, columns)


def _by_x(points: Sequence[Point]) -> list[Point]:
    return sorted(points, key=lambda point: (point[0], point[1].label))


def _x(system: System, key: str) -> float | None:
    """Where a system stands: the key's number; for an amount of data, the lists that it was trained on."""
    value: Any = system.flat.get(key)
    if key in _AMOUNT:
        value = system.all_runs[0].lists if system.all_runs else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def file_names(texts: Sequence[str]) -> list[str]:
    """Texts as parts of files' names, a number behind those that would be the same.

    >>> file_names(["Super NI, 0-shot", "a b", "A_B"])
    ['super-ni-0-shot', 'a-b', 'a-b-2']
    """
    found: list[str] = []
    for text in texts:
        name = re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.")
        every = chain([name], (f"{name}-{number}" for number in count(2)))
        found.append(next(each for each in every if each not in found))
    return found
