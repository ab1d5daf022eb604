"""Rounds of sampling, ranking and training, one after another: their table and figure, from what measured each."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from tuna.errors import DataError
from tuna.reporting.compare import marks_of
from tuna.reporting.figures import COLORS, draw_line, panels, save
from tuna.reporting.read import Measured, as_ours, measured_in, paper, read_examples
from tuna.reporting.tables import Table, cell, figure_cell
from tuna.runs import latest_of, read_json
from tuna.stats import Estimate, over_examples

WORDS = "words per answer"
Marks = Mapping[Any, float]  # by question


@dataclass
class Line:
    """What one round, or one thing beside the rounds, reached."""

    name: str
    round: int | None  # 0 is the start; None: beside the rounds
    figures: dict[str, dict[int, Marks]] = field(default_factory=lambda: defaultdict(dict))  # by name, by seed
    models: dict[int, str | None] = field(default_factory=dict)  # by seed

    def estimate(self, name: str, base: "Line | None" = None) -> Estimate | None:
        """A figure, less that of ``base``: each question's mean over the seeds, then the mean and interval of these.

        Questions are paired, and so are seeds: only those that both have count.
        """
        mine, other = self.figures[name], base.figures[name] if base else {}
        seeds = [seed for seed in mine if base is None or seed in other]
        if not seeds:
            return None
        pairs = [(mine[seed], other.get(seed) or dict.fromkeys(mine[seed], 0.0)) for seed in seeds]
        common = [key for key in pairs[0][0] if all(key in one and key in two for one, two in pairs)]
        values = [fmean(one[key] - two[key] for one, two in pairs) for key in common]
        return over_examples(values) or (Estimate(values[0]) if values else None)


@dataclass
class Rounds:
    """All lines of a book of rounds. lower: the figures of which lower is better. best: of each seed, the round."""

    lines: list[Line]
    lower: set[str]
    best: dict[int, Line]

    @property
    def first(self) -> Line | None:
        """Round 1, which differences are taken to."""
        return next((line for line in self.lines if line.round == 1), None)

    @property
    def names(self) -> list[str]:
        """Of the figures, the one that decides first."""
        return list(dict.fromkeys(name for line in self.lines for name in line.figures))


def read_rounds(path: Path) -> Rounds:
    """The rounds of a book (rounds.json), whose results lie beside it; those of rounds that were not run are not there.

    Raises: DataError where it is no such book; RunError where a file cannot be read.
    """
    rows = read_json(path, {"rows": list}, needs=["rows"])["rows"]
    if not all(isinstance(row, Mapping) and {"name", "round", "seed", "measured"} <= row.keys() for row in rows):
        raise DataError(
            f"{path}: rows: expected objects with name, round, seed, measured (reproduce.py pipeline=rounds)"
        )
    with as_ours(path):
        return _rounds(path, rows)


def _rounds(path: Path, rows: Sequence[Mapping[str, Any]]) -> Rounds:
    lines: dict[str, Line] = {}
    lower: set[str] = set()
    decides: dict[int, list[tuple[float, int, Line]]] = defaultdict(list)
    for row in rows:
        results = [found for place in row["measured"] if place and (found := _newest(path.parent / place))]
        if not results:
            continue
        line, seed = lines.setdefault(row["name"], Line(row["name"], row["round"])), int(row["seed"])
        line.models[seed] = row.get("model")
        for place, result in enumerate(results):
            lower.update(result.content.get("lower_is_better") or ())
            further = paper()["further"].get(result.benchmark, ()) if place == 0 else ()
            for name in (result.primary, *further):
                if name in result.scores:  # where it is no mean over questions it stands for all of them
                    line.figures[name][seed] = marks_of(result, name) or {"": result.scores[name]}
            said = {key: each["prediction"] for key, each in read_examples(result.path).items() if "prediction" in each}
            if said and place == 0:
                line.figures[WORDS][seed] = {key: float(len(str(text).split())) for key, text in said.items()}
        if line.round is not None and (value := results[0].scores.get(results[0].primary)) is not None:
            decides[seed].append((-value if results[0].primary in lower else value, line.round, line))
    best = {seed: max(found, key=lambda each: each[:2])[2] for seed, found in decides.items()}
    return Rounds([*lines.values()], lower, best)


def _newest(folder: Path) -> Measured | None:
    found = {measured.path: measured for measured in measured_in(folder)}
    latest = latest_of({path: measured.content for path, measured in found.items()}, folder)
    return found[latest] if latest else None


def rounds_table(rounds: Rounds, drawn: Path) -> Table:
    """Every line with its figures, and their differences to round 1. drawn: where the figure is."""
    rows = []
    for line in rounds.lines:
        cells = [cell(line.name), cell(len(line.models))]
        for name in rounds.names:
            change = line.estimate(name, rounds.first) if line is not rounds.first else None
            cells.append(figure_cell(line.estimate(name), change, lower_is_better=name in rounds.lower))
        rows.append(cells)
    head = ["", "seeds", *(f"{name}{' (lower is better)' if name in rounds.lower else ''}" for name in rounds.names)]
    caption = (
        "In brackets the 95% interval over questions, each question's mean over the seeds being one value. Δ is the "
        "difference to round 1, paired by question and seed. The best round is chosen by the figure itself, so it "
        "flatters; the differences of a given round do not."
    )
    notes = [
        f"seed {seed}: the best is {line.name}, {line.models[seed] or 'the model that the rounds began with'}"
        for seed, line in sorted(rounds.best.items())
    ]
    figures = [(drawn, "What each round reached; dashed, what stands beside the rounds")]
    return Table("rounds", "Rounds", caption, head, rows, notes, figures=figures)


def draw_rounds(rounds: Rounds, path: Path) -> None:
    """A panel for each figure: the rounds as a curve, what stands beside them as dashed lines."""
    figure, axes = panels(len(rounds.names))
    for panel, name in zip(axes, rounds.names, strict=True):
        curve = [(line.round, e) for line in rounds.lines if line.round is not None and (e := line.estimate(name))]
        draw_line(panel, curve, COLORS[0], None)
        beside = [line for line in rounds.lines if line.round is None]
        for color, line in zip(COLORS[1:], beside, strict=False):
            if estimate := line.estimate(name):
                panel.axhline(estimate.mean, color=color, linestyle="--", linewidth=1, label=line.name)
        panel.set_title(name, fontsize=11)
        panel.set_xlabel("round (0 is the start)", fontsize=10)
        panel.xaxis.get_major_locator().set_params(integer=True)
        if panel.get_legend_handles_labels()[0]:
            panel.legend(fontsize=7, frameon=False)
    save(figure, path)


def rounds_json(rounds: Rounds) -> dict[str, Any]:
    """For report.json: what the table says, in numbers."""

    def plain(found: Estimate | None) -> dict[str, Any] | None:
        return asdict(found) if found else None

    lines = []
    for line in rounds.lines:
        figures = {}
        for name in rounds.names:
            by_seed = {str(seed): fmean(marks.values()) for seed, marks in line.figures[name].items()}
            change = line.estimate(name, rounds.first) if rounds.first else None
            figures[name] = {"estimate": plain(line.estimate(name)), "to_round_1": plain(change), "by_seed": by_seed}
        models = {str(seed): model for seed, model in line.models.items()}
        lines.append({"name": line.name, "round": line.round, "models": models, "figures": figures})
    return {"lines": lines, "best": {str(seed): line.name for seed, line in rounds.best.items()}}
