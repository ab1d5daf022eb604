"""Families of systems that differ in one number: the lambda sweep, the amount of data, any other key."""

import json
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tuna.reporting.columns import RUN_COLUMNS, Column, differing
from tuna.reporting.compare import Comparison
from tuna.reporting.read import paper, place_in_order
from tuna.reporting.systems import System, shown

Point = tuple[float, System]
_AMOUNT = ("datamodule.first", "datamodule.last")


@dataclass
class Sweep:
    """Points along one key. ``lines``: by what else differs (one line, named "", for a plain sweep), each by x.

    key: the config key. label: of the x axis. start: what stands at zero, for data.
    """

    name: str
    title: str
    key: str
    label: str
    lines: dict[str, list[Point]]
    start: System | None
    columns: list[Column] = field(default_factory=list)

    @property
    def points(self) -> list[Point]:
        """All of them, by x."""
        return _by_x([point for line in self.lines.values() for point in line])

    @property
    def labels(self) -> set[str]:
        """Those of its systems."""
        return {system.label for _, system in self.points}

    def from_start(self, points: Sequence[Point]) -> list[Point]:
        """The points behind what stands at zero."""
        return [*([(0.0, self.start)] if self.start else []), *points]


def find_sweeps(comparison: Comparison) -> list[Sweep]:
    """Tagged families (``experiment.tables``) first, then any family whose systems differ in one numeric key."""
    by_base: dict[str, list[System]] = defaultdict(list)
    for system in comparison.systems:
        if system.all_runs:
            by_base[system.base].append(system)
    families = [f for base in sorted(by_base, key=place_in_order) for f in _families(base, by_base[base], comparison)]
    found: list[Sweep] = []
    for spec in paper()["sweeps"]:
        systems = [system for system in comparison.systems if spec["tag"] in system.tables]
        points = [(x, system) for system in systems if (x := _x(system, spec["key"])) is not None]
        if len({x for x, _ in points}) < 2:
            continue
        tagged = _make(spec["key"], {"": points}, comparison, spec["tag"])
        # The system of the main table may be a further point of the same family.
        if whole := [f for f in families if f.key == tagged.key and f.labels >= tagged.labels]:
            tagged.lines = whole[0].lines
        families = [f for f in families if f.key != tagged.key or not f.labels & tagged.labels]
        found.append(tagged)
    found += families
    for sweep in found:
        # Results' columns that two points have a figure in; the runs' own figures where there are none of results.
        systems = [system for _, system in sweep.points]
        results, runs = (
            [c for c in of if comparison.measured(systems, c) >= 2] for of in (comparison.of_results, RUN_COLUMNS)
        )
        sweep.columns = results or runs
    return found


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
    ordered = {line: _by_x(points) for line, points in lines.items()}
    return Sweep(file_name(name), title, key, label, ordered, comparison.baseline if key in _AMOUNT else None)


def _by_x(points: Sequence[Point]) -> list[Point]:
    return sorted(points, key=lambda point: (point[0], point[1].label))


def _x(system: System, key: str) -> float | None:
    """Where a system stands: the key's number; for an amount of data, the lists that it was trained on."""
    value: Any = system.flat.get(key)
    if key in _AMOUNT:
        value = system.all_runs[0].lists if system.all_runs else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def file_name(text: str) -> str:
    """Text as a part of a file's name.

    >>> file_name("Super NI, 0-shot")
    'super-ni-0-shot'
    """
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.")
