"""Losses side by side: chosen on one part of the questions, measured on another, over the same seeds and questions."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from tuna.errors import DataError
from tuna.reporting.compare import marks_of
from tuna.reporting.figures import COLORS, draw_line, panels, save
from tuna.reporting.read import Measured, read_examples
from tuna.reporting.tables import Cell, Table, cell, figure_cell, number, with_interval
from tuna.runs import read_json
from tuna.stats import Estimate, FloatArray, crossed, holm

_RUN = (  # figures of the runs' held-out lists: key, head
    ("pair_accuracy", "held-out pair accuracy"),
    ("v_best", "log-probability per token of the best answer"),
    ("loss_ce", "cross-entropy of the originals (lower is better)"),
)
_LEVEL = 0.05
_SHAPE: dict[str, type] = {"losses": dict, "baseline": str, "start": str, "contrasts": list}


@dataclass
class Line:
    """What one loss reached. marks: by seed, each question's value; figures: of held-out lists, by name and seed."""

    name: str
    settings: str = ""
    marks: dict[int, Mapping[Any, float]] = field(default_factory=dict)
    scores: dict[str, list[float]] = field(default_factory=dict)
    figures: dict[str, list[float]] = field(default_factory=dict)
    before: dict[str, float] = field(default_factory=dict)
    words: list[float] = field(default_factory=list)


@dataclass
class Losses:
    """The comparison that a book of ``reproduce.py pipeline=losses`` names. figure: what decides."""

    lines: dict[str, Line]
    start: Line
    baseline: str
    contrasts: Sequence[Mapping[str, Any]]
    sizes: Mapping[str, Mapping[int, str]]  # by loss, by answers per list: the line that was measured there
    figure: str = ""

    def combined(self, terms: Mapping[str, float]) -> Estimate | None:
        """A weighted sum of lines with its interval and p-value; None where one of them was not measured."""
        if not all(name in self.lines and self.lines[name].marks for name in terms):
            return None
        seeds = sorted(set.intersection(*({*self.lines[name].marks} for name in terms)))
        keys = sorted(set.intersection(*({*marks} for name in terms for marks in self.lines[name].marks.values())))
        if not seeds or not keys:
            return None
        table: FloatArray = np.zeros((len(seeds), len(keys)))
        for name, weight in terms.items():
            marks = self.lines[name].marks
            table += weight * np.array([[marks[seed][key] for key in keys] for seed in seeds])
        return crossed(table)

    @cached_property
    def changes(self) -> dict[str, tuple[Estimate, float]]:
        """By loss: the difference to the baseline, and its p-value by Holm over all of them."""
        mine = [name for name in self.lines if name != self.baseline and "@" not in name]
        found = {name: change for name in mine if (change := self.combined({name: 1, self.baseline: -1}))}
        corrected = holm([change.p for change in found.values()])
        return {name: (change, p) for (name, change), p in zip(found.items(), corrected, strict=True)}

    @cached_property
    def hypotheses(self) -> list[tuple[str, str, Estimate | None, float, str]]:
        """What was written down before: says, expected, the contrast, its p-value by Holm over these, the verdict."""
        found = [self.combined(each["of"]) for each in self.contrasts]
        corrected = iter(holm([estimate.p for estimate in found if estimate]))
        rows = []
        for each, estimate in zip(self.contrasts, found, strict=True):
            p, verdict = math.nan, "not measured"
            if estimate:
                p, as_expected = next(corrected), (estimate.mean > 0) == (each["expected"] == "above")
                verdict = "not decided" if p >= _LEVEL else "holds" if as_expected else "the opposite holds"
            rows.append((str(each["says"]), str(each["expected"]), estimate, p, verdict))
        return rows

    def order(self) -> list[Line]:
        """The losses of the main comparison, the best first."""
        main = [line for name, line in self.lines.items() if "@" not in name and line.marks]
        return sorted(main, key=lambda line: -fmean(fmean(marks.values()) for marks in line.marks.values()))


def read_losses(path: Path) -> Losses:
    """What a book (losses.json) names; what is not measured yet is not there. DataError where it is no such book."""
    book = read_json(path, _SHAPE)
    if lacking := [key for key in _SHAPE if key not in book]:
        raise DataError(f"{path}: {lacking[0]}: missing (reproduce.py pipeline=losses writes it)")
    lines = {name: _line(name, path.parent / folder) for name, folder in book["losses"].items()}
    sizes = {loss: {int(k): name for k, name in of.items()} for loss, of in (book.get("sizes") or {}).items()}
    found = Losses(lines, _line("start", path.parent / book["start"]), book["baseline"], book["contrasts"], sizes)
    found.figure = next((name for line in (found.start, *lines.values()) for name in line.scores), "")
    return found


def _line(name: str, folder: Path) -> Line:
    line = Line(name)
    for path in sorted(folder.glob("*/*/results.json")):
        content = read_json(path, {"benchmark": str, "model": dict, "scores": dict, "primary": str})
        if content.get("status") == "running" or "scores" not in content:
            continue
        result = Measured(path, content)
        run = read_json(Path(place) / "run.json") if (place := result.model.get("run")) else {}
        job = read_json(Path(place) / "job.json") if place else {}
        line.marks[int((run.get("config") or {}).get("seed") or 0)] = marks_of(result, result.primary)
        kept = [word for word in job.get("swept") or () if not word.startswith("seed=")]
        line.settings = " ".join(kept) or _settings(run)
        for score in (result.primary, *(score for score in result.scores if score != result.primary)):
            line.scores.setdefault(score, []).append(result.scores[score])
        for key, _ in _RUN:
            if (value := (run.get("after") or {}).get(key)) is not None:
                line.figures.setdefault(key, []).append(float(value))
            if (value := (run.get("before") or {}).get(key)) is not None:
                line.before[key] = float(value)
        said = [str(row["prediction"]) for row in read_examples(path).values() if "prediction" in row]
        line.words.append(fmean(len(text.split()) for text in said) if said else math.nan)
    return line


def _settings(run: Mapping[str, Any]) -> str:
    """The learning rate and the loss's own numbers."""
    config = run.get("config") or {}
    own = {f"loss.{k}": v for k, v in (config.get("loss") or {}).items() if isinstance(v, int | float)}
    rate = (config.get("module") or {}).get("lr")
    return " ".join(f"{key}={value:g}" for key, value in {"lr": rate, **own}.items() if isinstance(value, int | float))


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
        cells += [Cell(_p(change[1]), change[1]) if change else cell(None)]
        cells += [cell(fmean(line.scores[score])) if score in line.scores else cell(None) for score in scores[1:]]
        cells += [cell(fmean(line.figures[key]) if key in line.figures else None) for key, _ in _RUN]
        rows.append([*cells, cell(fmean(line.words) if line.words else None), cell(line.settings or None)])
    head = [
        "loss",
        found.figure,
        f"less that of {found.baseline}",
        "p (Holm)",
        *scores[1:],
        *(head for _, head in _RUN),
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
    return 0 if change[1] >= _LEVEL else 1 if change[0].mean > 0 else -1


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else number(p)


def _hypotheses(found: Losses) -> Table:
    rows = [
        [
            cell(says),
            cell(expected),
            cell(with_interval(e, True) if e else None),
            cell(_p(p) if e else None),
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
        color = COLORS[0] if p < _LEVEL else "#9aa5b1"
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


def losses_json(found: Losses) -> dict[str, Any]:
    """For report.json: what the tables say, in numbers."""
    lines = {}
    for line in found.order():
        own, change = found.combined({line.name: 1}), found.changes.get(line.name)
        lines[line.name] = {
            "settings": line.settings, "figure": asdict(own) if own else None,
            "by_seed": {str(seed): fmean(marks.values()) for seed, marks in line.marks.items()},
            "change": {**asdict(change[0]), "p_holm": change[1]} if change else None,
            "scores": {name: fmean(values) for name, values in line.scores.items()},
            "held_out": {name: fmean(values) for name, values in line.figures.items()},
        }  # fmt: skip
    hypotheses = [
        {"says": says, "expected": expected, "found": asdict(e) if e else None, "p_holm": p, "verdict": verdict}
        for says, expected, e, p, verdict in found.hypotheses
    ]
    sizes = {
        loss: {str(k): asdict(e) for k, name in of.items() if (e := found.combined({name: 1}))}
        for loss, of in found.sizes.items()
    }
    start = {name: fmean(values) for name, values in found.start.scores.items()}
    return {"baseline": found.baseline, "start": start, "losses": lines, "hypotheses": hypotheses, "sizes": sizes}
