"""The figures that a run ends with, and what they are to be read against."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

# Shown in tables: key, words, format.
ROWS = (
    ("pair_accuracy", "held-out pair accuracy", "{:.3f}"),
    ("pair_accuracy_balanced", "  balanced in length", "{:.3f}"),
    ("kendall_tau", "held-out Kendall's tau-b", "{:.3f}"),
    ("best_of_n", "held-out best of N", "{:.3f}"),
    ("v_best", "  mean v of the best", "{:.3f}"),
    ("v_worst", "  mean v of the worst", "{:.3f}"),
    ("margin_violations", "  pairs short of margin", "{:.3f}"),
    ("loss", "held-out loss", "{:.4f}"),
    ("loss_rank", "  ranking part", "{:.4f}"),
    ("loss_ce", "  cross-entropy part", "{:.4f}"),
)
BASELINES = {"length": "length-only", "random": "chance"}  # names in a data report, and what they are called


@dataclass(frozen=True, slots=True)
class Outcome:
    """Held-out figures before and after, baselines of the held-out lists, greedy accuracy on the embedded tasks."""

    before: dict[str, Any] | None
    after: dict[str, Any] | None
    baselines: dict[str, Any] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    tasks: tuple[Any, Any] | None = None  # tuna.assets.elementary.ElementaryResult before, after

    def with_tasks(self, before: Any, after: Any) -> "Outcome":
        """The same with the greedy accuracy on the embedded tasks."""
        return replace(self, tasks=(before, after))

    def metrics(self) -> dict[str, float]:
        """Everything as one flat mapping of numbers: val/..., before/..., tasks/..., and the last training figures."""
        flat = dict(self.last)
        for prefix, figures in (("before", self.before), ("val", self.after)):
            flat |= {f"{prefix}/{k}": float(v) for k, v in (figures or {}).items() if isinstance(v, int | float)}
        if self.tasks:
            for prefix, result in (("before", self.tasks[0]), ("val", self.tasks[1])):
                flat[f"{prefix}/task_accuracy"] = result.accuracy
                flat[f"{prefix}/open_ended_mark"] = result.open_ended
        return flat


def means_of(baselines: Mapping[str, Any]) -> dict[str, float]:
    """pair_accuracy of each baseline of a data report, by name; without those that nothing could be measured for."""
    means = {name: value["mean"] for name, value in baselines.items()}
    return {name: float(mean) for name, mean in means.items() if mean is not None and math.isfinite(mean)}


def baselines_of(outcome: Outcome, key: str) -> dict[str, float]:
    """What needs no model at the figure ``key``, by what it is called; measured with it as ``<key>_length_only``, ...

    >>> baselines_of(Outcome(None, {"kendall_tau": 0.5, "kendall_tau_chance": 0.0}), "kendall_tau")
    {'chance': 0.0}
    """
    if key == "pair_accuracy":
        return {BASELINES.get(name, name): mean for name, mean in means_of(outcome.baselines).items()}
    after = outcome.after or {}
    found = {words: after.get(f"{key}_{words.replace('-', '_')}") for words in BASELINES.values()}
    return {words: float(value) for words, value in found.items() if value is not None}


def interval_of(figures: Mapping[str, Any] | None, key: str) -> str:
    """The 95% interval of the figure ``key`` as text, empty where there is none."""
    low, high = (figures or {}).get(f"{key}_interval") or (None, None)
    return "" if low is None or high is None else f"{low:.2f}-{high:.2f}"
