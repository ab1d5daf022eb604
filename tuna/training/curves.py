"""The figure of a run: curves.png from metrics.csv and run.json."""

import csv
from pathlib import Path
from typing import Any

from tuna.runs import RunFolder
from tuna.training.card import shorten
from tuna.training.outcome import BASELINES, means_of


def draw(target: RunFolder) -> Path | None:
    """curves.png from metrics.csv: the parts of the loss, and pair accuracy, over the steps.

    Pair accuracy with what run.json holds of it: baselines as dotted lines, intervals as bars before and after.
    """
    source = target.path / "metrics.csv"
    if not source.exists():
        return None
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with source.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    panels = [
        names for names in (("loss", "loss_rank", "loss_ce"), ("pair_accuracy",)) if _points(rows, f"train/{names[0]}")
    ]
    if not panels:
        return None
    figure, axes = plt.subplots(1, len(panels), figsize=(5.5 * len(panels), 3.8), squeeze=False, layout="constrained")
    for axis, names in zip(axes[0], panels, strict=True):
        for index, name in enumerate(names):
            train, val = _points(rows, f"train/{name}"), _points(rows, f"val/{name}")
            colour = f"C{index}"
            if train:
                axis.plot(*zip(*train, strict=True), ".-", color=colour, label=f"train {name}", linewidth=1.5)
            if val:
                axis.plot(*zip(*val, strict=True), "o--", color=colour, label=f"held-out {name}", alpha=0.7)
        if names == ("pair_accuracy",):
            _draw_baselines(axis, target, _points(rows, "val/pair_accuracy"))
        axis.set_xlabel("optimizer step")
        axis.set_ylabel(names[0].replace("_", " "))
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    figure.suptitle(shorten(target.name))
    path = target.path / "curves.png"
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path


def _draw_baselines(axis: Any, target: RunFolder, held_out: list[tuple[int, float]]) -> None:
    written = target.read()
    for index, (name, mean) in enumerate(means_of(written.get("baselines") or {}).items()):
        axis.axhline(mean, linestyle=":", linewidth=0.8, color=f"C{index + 2}", label=BASELINES.get(name, name))
    for key, points in (("before", held_out[:1]), ("after", held_out[-1:])):
        low, high = (written.get(key) or {}).get("pair_accuracy_interval") or (None, None)
        if points and low is not None and high is not None:
            axis.vlines(points[0][0], low, high, color="C0", alpha=0.4, linewidth=2)


def _points(rows: list[dict[str, str]], column: str) -> list[tuple[int, float]]:
    return [(int(row["step"]), float(row[column])) for row in rows if row.get(column)]
