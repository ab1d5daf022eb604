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
from tuna.reporting.read import as_ours, measured_in, read_examples
from tuna.reporting.tables import LEVEL
from tuna.runs import read_json
from tuna.stats import Estimate, FloatArray, crossed, holm

OF_RUNS = (  # figures of the runs' held-out lists: key, head
    ("pair_accuracy", "held-out pair accuracy"),
    ("v_best", "log-probability per token of the best answer"),
    ("loss_ce", "cross-entropy of the originals (lower is better)"),
)
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
                verdict = "not decided" if p >= LEVEL else "holds" if as_expected else "the opposite holds"
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
    with as_ours(path):
        return _losses(path, book)


def _losses(path: Path, book: Mapping[str, Any]) -> Losses:
    lines = {name: _line(name, path.parent / folder) for name, folder in book["losses"].items()}
    sizes = {loss: {int(k): name for k, name in of.items()} for loss, of in (book.get("sizes") or {}).items()}
    found = Losses(lines, _line("start", path.parent / book["start"]), book["baseline"], book["contrasts"], sizes)
    found.figure = next((name for line in (found.start, *lines.values()) for name in line.scores), "")
    return found


def _line(name: str, folder: Path) -> Line:
    line = Line(name)
    for result in measured_in(folder):
        run = read_json(Path(place) / "run.json") if (place := result.model.get("run")) else {}
        job = read_json(Path(place) / "job.json") if place else {}
        line.marks[int((run.get("config") or {}).get("seed") or 0)] = marks_of(result, result.primary)
        kept = [word for word in job.get("swept") or () if not word.startswith("seed=")]
        line.settings = " ".join(kept) or _settings(run)
        for score in (result.primary, *(score for score in result.scores if score != result.primary)):
            line.scores.setdefault(score, []).append(result.scores[score])
        for key, _ in OF_RUNS:
            if (value := (run.get("after") or {}).get(key)) is not None:
                line.figures.setdefault(key, []).append(float(value))
            if (value := (run.get("before") or {}).get(key)) is not None:
                line.before[key] = float(value)
        said = [str(row["prediction"]) for row in read_examples(result.path).values() if "prediction" in row]
        line.words.append(fmean(len(text.split()) for text in said) if said else math.nan)
    return line


def _settings(run: Mapping[str, Any]) -> str:
    """The learning rate and the loss's own numbers."""
    config = run.get("config") or {}
    own = {f"loss.{k}": v for k, v in (config.get("loss") or {}).items() if isinstance(v, int | float)}
    rate = (config.get("module") or {}).get("lr")
    return " ".join(f"{key}={value:g}" for key, value in {"lr": rate, **own}.items() if isinstance(value, int | float))


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
