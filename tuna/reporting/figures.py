"""Figures as PNG: curves of sweeps with error bars, lengths by rank. The same figures give the same bytes."""

import math
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

from tuna.files import whole
from tuna.reporting.compare import Comparison
from tuna.reporting.read import Ranking
from tuna.reporting.sweeps import Sweep, file_names
from tuna.stats import Estimate

COLORS = ("#2563a8", "#c2571a", "#2d8659", "#8b4aa8", "#b3364b", "#5f6b7a")
MOST_LINES = len(COLORS)
_MOST_FIGURES = 12  # of one sweep
_MOST_PANELS = 4
_TITLE = 26  # characters of a panel's width


def draw_sweep(sweep: Sweep, comparison: Comparison, folder: Path) -> tuple[list[tuple[Path, str]], list[str]]:
    """A figure per column, a line per combination of what else was swept; gives files, titles, and what is left out."""
    lines = dict(list(sweep.lines.items())[:MOST_LINES])
    places = _axis_places([x for x, _ in sweep.from_start(sweep.points)])
    drawn = []
    columns = sweep.columns[:_MOST_FIGURES]
    for column, name in zip(columns, file_names([column.title for column in columns]), strict=True):
        figure, (panel,) = panels(1)
        base = comparison.estimate(comparison.baseline, column) if comparison.baseline else None
        start = [(0.0, base)] if sweep.start and base else []
        shown: list[Estimate] = []
        for color, (line, points) in zip(COLORS, lines.items(), strict=False):
            curve = [(x, e) for x, system in points if (e := comparison.estimate(system, column))]
            draw_line(panel, [(places[x], e) for x, e in [*start, *curve]], color, line or None)
            shown += [e for _, e in curve]
        if base and comparison.baseline and not sweep.start:  # no point of the curve
            panel.axhline(base.mean, color="#5f6b7a", linestyle="--", linewidth=1, label=comparison.baseline.label)
        _frame(panel, shown, base)
        panel.set_title(fill(column.title + column.direction, _TITLE), fontsize=10)
        panel.set_xlabel(sweep.label, fontsize=10)
        panel.set_xticks(sorted(set(places.values())), [f"{x:,g}" for x in sorted(places)], fontsize=9)
        panel.tick_params(axis="y", labelsize=9)
        if panel.get_legend_handles_labels()[0]:
            panel.legend(fontsize=8, frameon=False)
        path = folder / f"{sweep.name}-{name}.png"
        save(figure, path)
        drawn.append((path, f"{sweep.title}: {column.title}"))
    left = {"columns": len(sweep.columns) - _MOST_FIGURES, "lines": len(sweep.lines) - MOST_LINES}
    return drawn, [f"{count} {what}" for what, count in left.items() if count > 0]


def _frame(panel: Any, points: Sequence[Estimate], base: Estimate | None) -> None:
    """Keep one very wide interval (two seeds) from flattening the curve: bars may leave the frame, points do not."""
    halves = sorted(e.high - e.low for e in points if e.low is not None and e.high is not None)
    means = [e.mean for e in (*points, base) if e]
    room = max(halves[(len(halves) - 1) // 2], max(means) - min(means)) if halves else 0
    low, high = panel.get_ylim()
    if room > 0:
        panel.set_ylim(max(low, min(means) - 1.5 * room), min(high, max(means) + 1.5 * room))


def draw_systems(comparison: Comparison, path: Path) -> tuple[list[tuple[Path, str]], list[str]]:
    """Each system's score in the benchmarks that two or more have, with its interval; gives the file with its title,
    and what is left out, in words. Systems that are points of a sweep have figures of their own.
    """
    systems = [system for system in comparison.systems if not system.swept]
    columns = [c for c in comparison.of_results if not c.beside and comparison.measured(systems, c) > 1]
    shown = columns[:_MOST_PANELS]
    rows = [system for system in reversed(systems) if any(comparison.measured([system], column) for column in shown)]
    if not rows:
        return [], []
    figure, found = panels(len(shown), (2.2 + 2.6 * len(shown), 1.1 + 0.3 * len(rows)))
    for panel, column in zip(found, shown, strict=True):
        for place, system in enumerate(rows):
            if estimate := comparison.estimate(system, column):
                color = COLORS[1] if system is comparison.baseline else COLORS[0]
                span = _reach(estimate.mean, estimate.low, estimate.high)
                panel.errorbar(estimate.mean, place, xerr=span, fmt="o", color=color, markersize=5, capsize=3)
        panel.set_yticks(range(len(rows)), [s.label.replace("$", r"\$") if panel is found[0] else "" for s in rows])
        panel.set_title(fill(column.title + column.direction, _TITLE), fontsize=10)
        panel.tick_params(labelsize=9)
    save(figure, path)
    left = len(columns) - len(shown)
    told = [f"scores of the systems: {left} of {len(columns)} columns are not drawn"] if left else []
    return [(path, "Scores with their 95% intervals")], told


def draw_lengths(rankings: Sequence[Ranking], path: Path) -> list[str]:
    """Mean words by rank, the best first: the shape of the paper's Table 4; gives what was left out, in words."""
    figure, (panel,) = panels(1)
    for index, ranking in enumerate(rankings[:MOST_LINES]):
        ranks = range(1, len(ranking.lengths) + 1)
        panel.plot(ranks, ranking.lengths, "o-", color=COLORS[index], label=ranking.name, linewidth=1.5)
    panel.set_xlabel("rank (1 is the best)", fontsize=10)
    panel.set_ylabel("mean words", fontsize=10)
    panel.xaxis.get_major_locator().set_params(integer=True)
    panel.legend(fontsize=8, frameon=False)
    save(figure, path)
    left = len(rankings) - MOST_LINES
    return [f"lengths by rank: {left} of {len(rankings)} rankings are not drawn"] if left > 0 else []


def draw_judges(rows: dict[str, dict[str, float | None]], path: Path) -> None:
    """Agreement of each judge, plain and length-controlled; beside it how often the longer answer wins."""
    figure, (left, right) = panels(2, (8.6, 1.4 + 0.34 * len(rows)))
    marks = (("agreement", "o", 0.12, "agreement"), ("length_controlled", "D", -0.12, "length-controlled"))
    for color, (name, marker, shift, label) in zip(COLORS, marks, strict=False):
        for place, row in enumerate(reversed(rows.values())):
            if (value := row.get(name)) is not None:
                low, high = (row.get(f"{name}_{end}") for end in ("low", "high"))
                left.errorbar(
                    value, place + shift, xerr=_reach(value, low, high), fmt=marker, color=color, markersize=5,
                    capsize=3, label=label if not place else None,
                )  # fmt: skip
    left.axvline(0.5, color="#5f6b7a", linewidth=1)
    left.set_yticks(range(len(rows)), [name.replace("$", r"\$") for name in reversed(rows)], fontsize=9)
    left.set_title("agreement with the reference", fontsize=11)
    left.legend(fontsize=8, frameon=False)
    shares = [(place, row["longer_wins"]) for place, row in enumerate(reversed(rows.values()))]
    known = [(place, share) for place, share in shares if share is not None]
    right.plot([share for _, share in known], [place for place, _ in known], "o", color=COLORS[0], markersize=5)
    if (reference := next(iter(rows.values()))["longer_wins_reference"]) is not None:
        right.axvline(reference, color=COLORS[1], linestyle="--", linewidth=1.2, label="in the reference")
        right.legend(fontsize=8, frameon=False)
    right.set_yticks(range(len(rows)), [""] * len(rows))
    right.set_title("the longer answer wins", fontsize=11)
    for panel in (left, right):
        panel.set_ylim(-0.6, len(rows) - 0.4)
        panel.set_xlim(-0.03, 1.03)
    save(figure, path)


def _reach(value: float, low: float | None, high: float | None) -> list[list[float]]:
    """How far bars reach to each side of a value; an interval over questions need not contain a rounded one."""
    return [[0.0 if low is None else max(0.0, value - low)], [0.0 if high is None else max(0.0, high - value)]]


def draw_line(panel: Any, curve: Sequence[tuple[float, Estimate]], color: str, label: str | None) -> None:
    """A curve of points with their intervals."""
    xs, means = [x for x, _ in curve], [e.mean for _, e in curve]
    panel.plot(xs, means, "o-", color=color, label=label, linewidth=1.5, markersize=4)
    # An interval over questions need not contain a rounded mean.
    low = [math.nan if e.low is None else max(0.0, e.mean - e.low) for _, e in curve]
    high = [math.nan if e.high is None else max(0.0, e.high - e.mean) for _, e in curve]
    panel.errorbar(xs, means, yerr=[low, high], fmt="none", ecolor=color, capsize=3, alpha=0.6)


def _axis_places(xs: Sequence[float]) -> dict[float, float]:
    """Where values stand: by their logarithm, zero one step left of the least; evenly where they are not positive."""
    values = sorted(set(xs))
    positive = [x for x in values if x > 0]
    if values and (values[0] < 0 or not positive):
        return {x: float(index) for index, x in enumerate(values)}
    if not values or positive[-1] / positive[0] < 5:
        return {x: x for x in values}
    logs = {x: math.log10(x) for x in positive}
    step = (logs[positive[-1]] - logs[positive[0]]) / max(1, len(positive) - 1)
    return {x: logs[positive[0]] - step if x == 0 else logs[x] for x in values}


def panels(count: int, size: tuple[float, float] | None = None) -> tuple[Any, list[Any]]:
    """A figure and its ``count`` panels, next to each other. size: in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size or (4.8 * count, 3.3), layout="constrained")
    FigureCanvasAgg(figure)
    found = [figure.add_subplot(1, count, place + 1) for place in range(count)]
    for panel in found:
        panel.grid(True, color="#e3e7ec", linewidth=0.8)
        panel.set_axisbelow(True)
        for side in ("top", "right"):
            panel.spines[side].set_visible(False)
    return figure, found


def save(figure: Any, path: Path) -> None:
    """As PNG, without a date in it."""
    with whole(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130, facecolor="white", metadata={"Software": None})
