"""What ranked lists look like: lengths by rank (the paper's Table 4), scores, duplicates; in text, JSON and PNG."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tuna.files import whole
from tuna.stats import spearman

BINS = 10
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ListReport:
    """lengths: mean words by rank, the best first, over lists of the commonest size. tokens: the same in
    tokens, where all answers have a count. length_correlation: Spearman of length and score, mean over lists.
    histogram: (edges, counts) of the scores. duplicates: share of answers with the text of another of their list.
    ties: share of pairs with equal scores.
    """

    lists: int
    answers: int
    size: int
    lengths: list[float]
    tokens: list[float]
    length_correlation: float | None
    histogram: tuple[list[float], list[int]]
    duplicates: float
    ties: float

    def lines(self) -> list[str]:
        """For printing."""
        out = [
            f"lists: {self.lists:,}, {self.answers:,} answers; {self.duplicates:.1%} duplicates, "
            f"{self.ties:.1%} of pairs tied"
        ]
        if self.lengths:
            ranks = " ".join(f"{value:>7.1f}" for value in self.lengths)
            out.append(f"mean length by rank, best first (lists of {self.size}): {ranks} words")
        if self.tokens:
            out.append(
                f"{'':>{len(out[-1]) - 8 * len(self.tokens) - 5}}{' '.join(f'{v:>7.1f}' for v in self.tokens)} tokens"
            )
        if self.length_correlation is not None:
            out.append(
                f"longer is better: Spearman of length and score {self.length_correlation:+.3f}, mean over lists"
            )
        edges, counts = self.histogram
        most = max(counts, default=0)
        for low, high, count in zip(edges, edges[1:], counts, strict=False):
            out.append(f"  score {low:>9.3g} to {high:<9.3g} {'#' * round(40 * count / max(most, 1)):<40} {count}")
        return out

    def to_dict(self) -> dict[str, Any]:
        """For the JSON report."""
        return asdict(self)


def describe_lists(rows: Sequence[Row]) -> ListReport:
    """Look at the ranked lists of an output.

    >>> rows = [{"responses": [{"text": "a b", "score": 0}, {"text": "a", "score": -1}, {"text": "a", "score": -1}]}]
    >>> found = describe_lists(rows)
    >>> found.lengths, found.duplicates, found.ties
    ([2.0, 1.0, 1.0], 0.3333333333333333, 0.3333333333333333)
    """
    lists = [sorted(row["responses"], key=lambda r: -float(r["score"])) for row in rows]
    size = max(Counter(map(len, lists)).items(), key=lambda item: (item[1], item[0]))[0] if lists else 0
    common = [answers for answers in lists if len(answers) == size]
    counted = common and all(a.get("num_tokens") for answers in common for a in answers)
    scores = np.array([float(a["score"]) for answers in lists for a in answers])
    counts, edges = np.histogram(scores, bins=BINS) if len(scores) else (np.zeros(0), np.zeros(0))
    texts = [[a["text"].strip() for a in answers] for answers in lists]
    pairs = [(x["score"], y["score"]) for answers in lists for k, x in enumerate(answers) for y in answers[k + 1 :]]
    correlations = [
        value
        for answers in lists
        if (value := spearman([_words(a) for a in answers], [a["score"] for a in answers])) is not None
    ]
    return ListReport(
        lists=len(lists),
        answers=len(scores),
        size=size,
        lengths=[float(np.mean([_words(answers[k]) for answers in common])) for k in range(size)] if common else [],
        tokens=[float(np.mean([answers[k]["num_tokens"] for answers in common])) for k in range(size)]
        if counted
        else [],
        length_correlation=float(np.mean(correlations)) if correlations else None,
        histogram=([round(float(edge), 6) for edge in edges], [int(count) for count in counts]),
        duplicates=sum(len(t) - len(set(t)) for t in texts) / max(len(scores), 1),
        ties=sum(a == b for a, b in pairs) / max(len(pairs), 1),
    )


def _words(answer: Row) -> int:
    return len(str(answer["text"]).split())


def draw(report: ListReport, path: Path, title: str) -> None:
    """Lengths by rank and the histogram of scores, as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    left.bar(range(1, len(report.lengths) + 1), report.lengths, color="tab:blue")
    left.set(xlabel="rank (1 is the best)", ylabel="mean words", title="length by rank")
    left.set_xticks(range(1, len(report.lengths) + 1))
    edges, counts = report.histogram
    if counts:
        right.bar(edges[:-1], counts, width=np.diff(edges), align="edge", color="tab:orange", edgecolor="white")
    right.set(xlabel="score", ylabel="answers", title="scores")
    figure.suptitle(f"{title}: {report.lists} lists")
    try:
        with whole(path) as temporary:
            figure.savefig(temporary, dpi=120, format="png")
    finally:
        plt.close(figure)
