"""The comparison of losses as tables and figures: a forest plot, gain against cost, and the sizes of lists."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from tuna.reporting.figures import COLORS, draw_line, panels, save
from tuna.reporting.losses import OF_RUNS, Losses
from tuna.reporting.tables import LEVEL, Cell, Table, cell, figure_cell, p_value, with_interval
from tuna.stats import Estimate


def tables(found: Losses, folder: Path) -> list[Table]:
    """The losses, the hypotheses and the sizes of lists; their figures are drawn into ``folder``."""
    drawn = [(folder / "losses-forest.png", f"{found.figure}, less that of {found.baseline}, with 95% intervals")]
    _draw_forest(found, drawn[0][0])
    if any("loss_ce" in line.figures for line in found.lines.values()) and found.start.scores:
        drawn.append((folder / "losses-cost.png", "What is gained, and how much less likely the originals became"))
        _draw_cost(found, drawn[1][0])
    made = [_table(found, drawn), _hypotheses(found)]
    if any(found.sizes.values()):
        path = folder / "losses-sizes.png"
        _draw_sizes(found, path)
        made.append(_sizes(found, [(path, f"{found.figure} by answers per list, less that of the shortest lists")]))
    return made


def _table(found: Losses, drawn: Sequence[tuple[Path, str]]) -> Table:
    scores = list(dict.fromkeys(score for line in found.order() for score in line.scores))
    rows = []
    for line in (found.start, *found.order()):
        own, change = found.combined({line.name: 1}), found.changes.get(line.name)
        cells = [cell(line.name), figure_cell(own)]
        if line is found.start and found.figure in line.scores:
            cells[1] = cell(fmean(line.scores[found.figure]))
        cells += [
            Cell(with_interval(change[0], True), change[0].mean, (), False, _sign(change)) if change else cell(None)
        ]
        cells += [Cell(p_value(change[1]), change[1]) if change else cell(None)]
        cells += [cell(fmean(line.scores[score])) if score in line.scores else cell(None) for score in scores[1:]]
        cells += [cell(fmean(line.figures[key]) if key in line.figures else None) for key, _ in OF_RUNS]
        rows.append([*cells, cell(fmean(line.words) if line.words else None), cell(line.settings or None)])
    head = [
        "loss",
        found.figure,
        f"less that of {found.baseline}",
        "p (Holm)",
        *scores[1:],
        *(head for _, head in OF_RUNS),
    ]
    seeds = max((len(line.marks) for line in found.lines.values()), default=0)
    asked = max((len(marks) for line in found.lines.values() for marks in line.marks.values()), default=0)
    caption = (
        f"Mean over {seeds} seeds and {asked} questions; each loss with the settings that were best on others, "
        "with other seeds. Intervals (95%) and p-values take seeds and questions as drawn at random, both crossed "
        f"(two-way random effects); p is corrected by Holm over the {len(found.changes)} differences."
    )
    return Table("losses", "Losses", caption, [*head, "words", "settings"], rows, figures=drawn)


def _sign(change: tuple[Estimate, float]) -> int:
    """1 or -1 where the corrected test decides."""
    return 0 if change[1] >= LEVEL else 1 if change[0].mean > 0 else -1


def _hypotheses(found: Losses) -> Table:
    rows = [
        [
            cell(says),
            cell(expected),
            cell(with_interval(e, True) if e else None),
            cell(p_value(p) if e else None),
            cell(verdict),
        ]
        for says, expected, e, p, verdict in found.hypotheses
    ]
    caption = "Written down before the comparison was run. p is corrected by Holm over these; 0.05 decides."
    return Table(
        "losses-hypotheses", "Hypotheses", caption, ["", "expected", "found", "p (Holm)", ""], rows, numeric=False
    )


def _sizes(found: Losses, drawn: Sequence[tuple[Path, str]]) -> Table:
    sizes = sorted({size for of in found.sizes.values() for size in of})
    rows = []
    for loss, of in found.sizes.items():
        at = [found.combined({of[size]: 1}) if size in of else None for size in sizes]
        rows.append([cell(loss), *map(figure_cell, at)])
    head = ["loss", *(f"K = {size}" for size in sizes)]
    caption = "The same questions, K answers each; the settings are those chosen at the size of the main comparison."
    return Table("losses-sizes", "Answers per list", caption, head, rows, figures=drawn)


def _draw_forest(found: Losses, path: Path) -> None:
    """Differences to the baseline, the best on top; blue where the corrected test decides."""
    changes = sorted(found.changes.items(), key=lambda item: item[1][0].mean)
    figure, (panel,) = panels(1, (6.4, 1.2 + 0.24 * len(changes)))
    panel.axvline(0.0, color="#5f6b7a", linewidth=1)
    spans = [(e.low, e.high) for _, (e, _) in changes if e.low is not None and e.high is not None]
    edge = _edge([low for low, _ in spans])
    for place, (_, (estimate, p)) in enumerate(changes):
        color = COLORS[0] if p < LEVEL else "#9aa5b1"
        if estimate.mean < edge:  # far below all others, whose scale it would take
            panel.annotate(
                f"\u2190 {with_interval(estimate, True)}", (edge, place), fontsize=8, color=color, va="center"
            )
            continue
        panel.plot([estimate.low, estimate.high], [place, place], color=color, linewidth=1.6)
        panel.plot([estimate.mean], [place], "o", color=color, markersize=5)
    if edge > -math.inf:
        panel.set_xlim(edge, max(0.0, *(high for _, high in spans)) + 0.005)
    panel.set_yticks(range(len(changes)), [name for name, _ in changes], fontsize=8)
    panel.set_xlabel(f"{found.figure}, less that of {found.baseline} (grey: not decided after Holm)", fontsize=9)
    save(figure, path)


def _edge(lows: Sequence[float]) -> float:
    """Where the axis ends below, so that one or two far ones do not flatten all others.

    >>> _edge([-0.33, -0.05, -0.04, -0.02]), _edge([-0.06, -0.05, -0.04])
    (-0.06, -inf)
    """
    ordered = sorted(lows)
    third = ordered[min(2, len(ordered) - 1)] if ordered else 0.0
    near = [low for low in ordered if low > 3 * third]
    return 1.2 * near[0] if near and len(near) < len(ordered) else -math.inf


def _draw_cost(found: Losses, path: Path) -> None:
    """Gain over the start against the rise of the originals' cross-entropy, a point per loss."""
    figure, (panel,) = panels(1, (7.6, 5.2))
    begin = fmean(found.start.scores[found.figure])
    points = {
        line.name: (fmean(line.figures["loss_ce"]) - line.before["loss_ce"], fmean(line.scores[found.figure]) - begin)
        for line in found.order()
        if "loss_ce" in line.figures and "loss_ce" in line.before
    }
    most = max(gain for _, gain in points.values())
    near = {name: point for name, point in points.items() if point[1] > most / 2}
    panel.plot(*zip(*near.values(), strict=True), "o", color=COLORS[0], markersize=5)
    _label(panel, near)
    far = [f"{name} ({cost:+.3f}, {gain:+.3f})" for name, (cost, gain) in points.items() if name not in near]
    far += [line.name for line in found.order() if line.name not in points]  # they do not measure it
    beside = f"; not shown: {', '.join(far)}" if far else ""
    panel.set_xlabel(f"cross-entropy of the originals, more than at the start (nats per token{beside})", fontsize=9)
    panel.set_ylabel(f"{found.figure}, more than at the start", fontsize=9)
    save(figure, path)


def _label(panel: Any, points: Mapping[str, tuple[float, float]]) -> None:
    """A name at each point, moved away, with a line to it, where another name stands."""
    panel.margins(0.08)
    panel.figure.canvas.draw()
    taken: list[tuple[float, float, float, float]] = []
    for name, point in sorted(points.items(), key=lambda item: (item[1][0], -item[1][1])):
        x, y = panel.transData.transform(point) * 72 / panel.figure.dpi  # in points, as offsets are
        for away in range(60):
            side = -1 if away % 2 else 1
            dx, dy = 6 + 1.2 * (away // 2), side * 5.5 * (away // 2)
            box = (x + dx, y + dy, x + dx + 4.1 * len(name), y + dy + 8)
            if not any(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in taken):
                break
        taken.append(box)
        line = {"arrowstyle": "-", "color": "#9aa5b1", "linewidth": 0.5} if away > 1 else None
        panel.annotate(name, point, xytext=(dx, dy), textcoords="offset points", fontsize=7, arrowprops=line)


def _draw_sizes(found: Losses, path: Path) -> None:
    """A line per loss over the number of answers, which doubles from tick to tick, less what its smallest reached."""
    figure, (panel,) = panels(1, (6.0, 3.6))
    sizes = sorted({size for of in found.sizes.values() for size in of})
    for place, (color, (loss, of)) in enumerate(zip(COLORS, found.sizes.items(), strict=False)):
        least, moved = min(of), 0.05 * (place - (len(found.sizes) - 1) / 2)
        changes = [(size, found.combined({of[size]: 1, of[least]: -1})) for size in sorted(of) if size != least]
        curve = [(math.log2(size) + moved, e) for size, e in changes if e]
        draw_line(panel, [(math.log2(least) + moved, Estimate(0.0)), *curve], color, loss)
    panel.set_xticks([math.log2(size) for size in sizes], [str(size) for size in sizes])
    panel.set_xlabel("answers per list (K)", fontsize=10)
    panel.set_title(f"{found.figure}, less that of the same loss at K = {sizes[0]}", fontsize=10)
    if panel.get_legend_handles_labels()[0]:
        panel.legend(fontsize=8, frameon=False)
    save(figure, path)
