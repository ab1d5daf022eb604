"""Families of systems that differ in one number: the lambda sweep, the amount of data, any other key."""

import json
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tuna.reporting.columns import Column
from tuna.reporting.compare import RUN, RUN_COLUMNS, Comparison
from tuna.reporting.paper import paper, place_in_order
from tuna.reporting.systems import System, shown
from tuna.stats import Estimate

Point = tuple[float, System]


@dataclass
class Sweep:
    """Points along one key. ``lines``: by what else differs (one line, named "", for a plain sweep).

    key: the config key, or "lists" for the number of ranked lists trained on. start: what stands at zero, for data.
    """

    name: str
    title: str
    key: str
    words: str
    lines: dict[str, list[Point]]
    columns: list[Column] = field(default_factory=list)
    start: System | None = None

    @property
    def points(self) -> list[Point]:
        """All of them, by x."""
        return sorted(
            (point for line in self.lines.values() for point in line), key=lambda point: (point[0], point[1].label)
        )

    def curve(self, comparison: Comparison, column: Column, line: str) -> list[tuple[float, Estimate]]:
        """x and figure of the points that have one."""
        return [(x, e) for x, system in self.lines[line] if (e := comparison.estimate(system, column))]


def find_sweeps(comparison: Comparison) -> list[Sweep]:
    """Tagged families (``experiment.tables``) first, then any family whose systems differ in one numeric key."""
    by_base: dict[str, list[System]] = defaultdict(list)
    for system in comparison.systems:
        if system.any_run() is not None:
            by_base[system.base].append(system)
    families = [f for base in sorted(by_base, key=place_in_order) for f in _families(base, by_base[base], comparison)]
    found: list[Sweep] = []
    for spec in paper()["sweeps"]:
        tagged = _tagged(spec, [s for s in comparison.systems if spec["tag"] in s.tables], comparison)
        if tagged is None:
            continue
        # The system of the main table may be a further point of the same family.
        whole = [f for f in families if f.key == tagged.key and _labels(f) >= _labels(tagged)]
        if whole:
            tagged.lines = whole[0].lines
        families = [f for f in families if f.key != tagged.key or not _labels(f) & _labels(tagged)]
        found.append(tagged)
    found += families
    for sweep in found:
        sweep.columns = _columns(sweep, comparison)
    return found


def _tagged(spec: dict[str, Any], tagged: Sequence[System], comparison: Comparison) -> Sweep | None:
    points = [(x, system) for system in tagged if (x := _x(system, spec["key"])) is not None]
    return _make(spec["key"], {"": points}, comparison, spec["tag"]) if len({x for x, _ in points}) >= 2 else None


def _labels(sweep: Sweep) -> set[str]:
    return {system.label for _, system in sweep.points}


def _families(base: str, same: Sequence[System], comparison: Comparison) -> list[Sweep]:
    keys = sorted({key for system in same for key in system.flat})
    out = []
    for key in keys:
        if len({repr(system.flat.get(key)) for system in same}) < 2:
            continue
        groups: dict[str, list[Point]] = defaultdict(list)
        for system in same:
            x = _x(system, key)
            if x is not None:
                rest = {k: v for k, v in system.flat.items() if k != key}
                groups[json.dumps(rest, sort_keys=True, default=str)].append((x, system))
        lines = [sorted(points, key=lambda p: p[0]) for points in groups.values() if len({x for x, _ in points}) >= 2]
        if lines:
            named = {_line_name(points[0][1], key) if len(lines) > 1 else "": points for points in lines}
            out.append(_make(key, named, comparison, base))
    return out


def _line_name(system: System, key: str) -> str:
    other = {k: v for k, v in system.changed.items() if k != key}
    return ", ".join(f"{k.rpartition('.')[2]}={shown(v)}" for k, v in other.items()) or system.base


def _make(key: str, lines: dict[str, list[Point]], comparison: Comparison, base: str) -> Sweep:
    spec = next((spec for spec in paper()["sweeps"] if spec["key"] == key), None)
    title = spec["title"] if spec else f"{base}: score and {key}"
    name = f"{base}-{key.replace('.', '-')}" if spec is None or base != spec["tag"] else base
    start = comparison.baseline if key in _AMOUNT else None
    ordered = {line: sorted(points, key=lambda p: (p[0], p[1].label)) for line, points in lines.items()}
    return Sweep(file_name(name), title, key, spec["words"] if spec else key, ordered, start=start)


_AMOUNT = ("datamodule.first", "datamodule.last")


def _x(system: System, key: str) -> float | None:
    """Where a system stands: the key's number; for an amount of data, the lists that it was trained on."""
    if key in _AMOUNT:
        run = system.any_run()
        data = (run.content.get("parents") or {}).get("data") or {} if run else {}
        lists = data.get("train_lists")
        return float(lists) if isinstance(lists, int) else None
    value = system.flat.get(key)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _columns(sweep: Sweep, comparison: Comparison) -> list[Column]:
    """Results' columns that two points have a figure in; the runs' own figures where there are none of results."""
    systems = [system for _, system in sweep.points]

    def measured(column: Column) -> bool:
        return sum(bool(comparison.values(system, column)) for system in systems) >= 2

    results = [column for column in comparison.of_results if measured(column)]
    return results or [column for column in RUN_COLUMNS if column.key.startswith(RUN) and measured(column)]


def file_name(text: str) -> str:
    """Text as a part of a file's name.

    >>> file_name("Super NI, 0-shot")
    'super-ni-0-shot'
    """
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.")
