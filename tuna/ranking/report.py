"""What ranked lists look like: lengths by rank (the paper's Table 4), scores, duplicates; in text, JSON and PNG."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tuna.files import whole
from tuna.stats import spearman

_MOST_BARS = 30


@dataclass(frozen=True, slots=True)
class ListReport:
    """The figures of ranked lists."""

    lists: int
    answers: int
    size: int  # the commonest of a list
    lengths: list[float]  # mean words by rank, the best first, over lists of that size
    tokens: list[float]  # the same in tokens, where all answers have a count
    length_correlation: float | None  # Spearman of length and score, mean over lists
    histogram: tuple[list[float], list[int]]  # edges and counts of the scores
    duplicates: float  # share of answers with the text of another of their list
    ties: float  # share of pairs with equal scores

    def lines(self) -> list[str]:
        """For printing."""
        shares = f"{self.duplicates:.1%} duplicates, {self.ties:.1%} of pairs tied"
        out = [f"lists: {self.lists:,}, {self.answers:,} answers; {shares}"]
        start = f"mean length by rank, best first (lists of {self.size}):"
        for unit, values in (("words", self.lengths), ("tokens", self.tokens)):
            if values:
                out.append(f"{start} {' '.join(f'{value:>7.1f}' for value in values)} {unit}")
                start = " " * len(start)
        if (rho := self.length_correlation) is not None:
            out.append(f"longer is better: Spearman of length and score {rho:+.3f}, mean over lists")
        edges, counts = self.histogram
        most = max(counts, default=0)
        for low, high, count in zip(edges, edges[1:], counts, strict=False):
            span = f"{(low + high) / 2:>9g}{'':13}" if high - low == 1 and low % 1 else f"{low:>9.3g} to {high:<9.3g}"
            out.append(f"  score {span} {'#' * round(40 * count / max(most, 1)):<40} {count}")
        return out


def describe_lists(rows: Sequence[Mapping[str, Any]]) -> ListReport:
    """Look at the ranked lists of an output.

    >>> rows = [{"responses": [{"text": "a b", "score": 0}, {"text": "a", "score": -1}, {"text": "a", "score": -1}]}]
    >>> found = describe_lists(rows)
    >>> found.lengths, found.duplicates, found.ties
    ([2.0, 1.0, 1.0], 0.3333333333333333, 0.3333333333333333)
    """
    lists = [sorted(row["responses"], key=lambda r: -float(r["score"])) for row in rows]
    size = max(Counter(map(len, lists)).items(), key=lambda item: (item[1], item[0]))[0] if lists else 0
    scores = np.array([float(a["score"]) for answers in lists for a in answers])
    bars, edges = np.histogram(scores, bins=_bins(scores)) if len(scores) else (np.zeros(0), np.zeros(0))
    texts = [[a["text"].strip() for a in answers] for answers in lists]
    pairs = [(x["score"], y["score"]) for answers in lists for k, x in enumerate(answers) for y in answers[k + 1 :]]
    words = [[len(a["text"].split()) for a in answers] for answers in lists]
    rho = [spearman(counts, [a["score"] for a in answers]) for counts, answers in zip(words, lists, strict=True)]
    known = [value for value in rho if value is not None]
    lengths = [counts for counts in words if len(counts) == size]
    tokens = [[a.get("num_tokens") for a in answers] for answers in lists if len(answers) == size]
    return ListReport(
        lists=len(lists),
        answers=len(scores),
        size=size,
        lengths=np.mean(lengths, axis=0).tolist() if lengths else [],
        tokens=np.mean(tokens, axis=0).tolist() if tokens and all(map(all, tokens)) else [],
        length_correlation=float(np.mean(known)) if known else None,
        histogram=([round(float(edge), 6) for edge in edges], [int(count) for count in bars]),
        duplicates=sum(len(t) - len(set(t)) for t in texts) / max(len(scores), 1),
        ties=sum(a == b for a, b in pairs) / max(len(pairs), 1),
    )


def _bins(scores: npt.NDArray[np.float64]) -> Any:
    """A bar per whole number, where all scores are whole and not many: ranks and marks; else ten."""
    low, high = scores.min(), scores.max()
    whole = bool((scores == np.round(scores)).all()) and high - low < _MOST_BARS
    return np.arange(low - 0.5, high + 1.0) if whole else 10


def draw(report: ListReport, path: Path, title: str) -> None:
    """Lengths by rank and the histogram of scores, as PNG."""
    with picture(path, (9, 3.4), columns=2) as (figure, (left, right)):
        ranks = range(1, len(report.lengths) + 1)
        left.bar(ranks, report.lengths, color="tab:blue")
        left.set(xlabel="rank (1 is the best)", ylabel="mean words", title="length by rank", xticks=ranks)
        edges, counts = report.histogram
        if counts:
            right.bar(edges[:-1], counts, width=np.diff(edges), align="edge", color="tab:orange", edgecolor="white")
        right.set(xlabel="score", ylabel="answers", title="scores")
        figure.suptitle(f"{title}: {report.lists} lists")


@contextmanager
def picture(path: Path, size: tuple[float, float], columns: int = 1) -> Iterator[tuple[Any, Any]]:
    """A figure of ``columns`` axes, for drawing, that is written as PNG at the end of the block."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, columns, figsize=size, layout="constrained")
    try:
        yield figure, axes
        with whole(path) as temporary:
            figure.savefig(temporary, dpi=120, format="png")
    finally:
        plt.close(figure)
