"""Agreement between two rankings of the same answers: Spearman as in the paper's Appendix G, and pairs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuna.data.files import read_rows
from tuna.data.ranking import pair_accuracy
from tuna.errors import DataError
from tuna.stats import Interval, bootstrap_interval, spearman


@dataclass(frozen=True, slots=True)
class Agreement:
    """Over the lists that both files rank: mean Spearman and the share of pairs ordered alike, with intervals.

    by_list: each list's Spearman; None where one file ties all its answers.
    """

    lists: int
    only_first: int
    only_second: int
    spearman: Interval
    pairs: Interval
    by_list: tuple[float | None, ...] = ()

    def lines(self) -> list[str]:
        """For printing."""
        return [
            f"lists in both: {self.lists:,} (only in the first {self.only_first:,}, second {self.only_second:,})",
            f"Spearman, mean over {self.spearman.lists:,} lists: {self.spearman}",
            f"pairs ordered alike, over {self.pairs.lists:,} lists: {self.pairs}",
        ]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "lists": self.lists, "only_first": self.only_first, "only_second": self.only_second,
            "spearman": self.spearman.to_dict(), "pairs": self.pairs.to_dict(),
        }  # fmt: skip

    def draw(self, path: Path, title: str) -> None:
        """How the lists' Spearman correlations are spread, as PNG."""
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot as plt

        figure, axes = plt.subplots(figsize=(5.2, 3.4), layout="constrained")
        axes.hist([rho for rho in self.by_list if rho is not None], bins=21, range=(-1.05, 1.05), edgecolor="white")
        if not math.isnan(self.spearman.mean):
            axes.axvline(self.spearman.mean, color="tab:orange", label=f"mean {self.spearman.mean:.3f}")
            axes.legend()
        axes.set(xlabel="Spearman of a list", ylabel="lists", title=title.replace("$", r"\$"))
        figure.savefig(path, dpi=120)
        plt.close(figure)


def compare(first: str, second: str) -> Agreement:
    """Compare two files of ranked lists, by id and by the answers' texts.

    Raises:
        DataError: a row without id and responses, or nothing in common.
    """
    one, two = _read(first), _read(second)
    both = [key for key in one if key in two and len(one[key].keys() & two[key].keys()) > 1]
    if not both:
        raise DataError(f"{first} and {second}: no list with two answers in common; they must rank the same answers")
    rho, alike = [], []
    for key in both:
        texts = [text for text in one[key] if text in two[key]]
        a, b = [one[key][t] for t in texts], [two[key][t] for t in texts]
        rho.append(spearman(a, b))
        alike.append(float(pair_accuracy([a], [b])[0]))
    return Agreement(
        len(both),
        len(one.keys() - two.keys()),
        len(two.keys() - one.keys()),
        bootstrap_interval([float("nan") if value is None else value for value in rho]),
        bootstrap_interval(alike),
        tuple(rho),
    )


def _read(path: str) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for row in read_rows(path).rows:
        value = row.value
        if not isinstance(value, Mapping) or "id" not in value or not isinstance(value.get("responses"), Sequence):
            raise DataError(f"{row.where}: expected a ranked list with id and responses (what rank.py writes)")
        try:
            found[str(value["id"])] = {str(r["text"]).strip(): float(r["score"]) for r in value["responses"]}
        except (KeyError, TypeError, ValueError):
            raise DataError(f"{row.where}: responses: expected objects with text and score") from None
    return found
