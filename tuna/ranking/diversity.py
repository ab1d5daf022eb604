"""The paper's rule for samples that differ (Section 3.1): every pair below tau in ROUGE-L.

A sample that is too similar to one already kept is dropped, the temperature rises by a step and another is drawn in its
place. After ``trials`` such resamples have failed, the least similar of all that were tried is kept. A sample once kept
is never given up, so a set that passes is final.
"""

from collections.abc import Mapping
from dataclasses import replace

from tuna.inference.answers import Answer
from tuna.judges.checker import rouge_l


class DiverseSet:
    """``n`` places to fill. tau: highest ROUGE-L allowed, exclusive; None takes whatever comes."""

    def __init__(self, n: int, tau: float | None = 0.8, trials: int = 3) -> None:
        self.n = n
        self.tau = tau
        self.trials = trials
        self._kept: dict[int, Answer] = {}
        self._tried: dict[int, list[Answer]] = {place: [] for place in range(n)}

    def missing(self) -> list[tuple[int, int]]:
        """Places still to be drawn for, each with the number of its next trial (0 is the first draw)."""
        return [
            (place, len(tried))
            for place, tried in self._tried.items()
            if place not in self._kept and len(tried) <= self.trials
        ]

    def offer(self, drawn: Mapping[int, Answer]) -> None:
        """Keep what passes, in the order of places; remember the rest."""
        for place, answer in sorted(drawn.items()):
            similarity = self._similarity(answer)
            if self.tau is None or similarity < self.tau:
                self._kept[place] = answer if self.tau is None else replace(answer, similarity=round(similarity, 4))
            else:
                self._tried[place].append(answer)

    def finish(self) -> list[Answer]:
        """The set; places without a passing sample get the least similar one tried.

        >>> one, same, other = Answer("a b c"), Answer("a b c"), Answer("a b d")
        >>> few = DiverseSet(2, tau=0.5, trials=1)
        >>> few.offer({0: one, 1: same}); few.offer({1: other})
        >>> [(a.text, a.similarity) for a in few.finish()]
        [('a b c', 0.0), ('a b d', 0.6667)]
        """
        for place in range(self.n):
            if place not in self._kept and self._tried[place]:
                best = min(self._tried[place], key=self._similarity)
                self._kept[place] = replace(best, similarity=round(self._similarity(best), 4))
        return [self._kept[place] for place in sorted(self._kept)]

    def _similarity(self, answer: Answer) -> float:
        """To the most similar one kept; an answer without text is like any."""
        if answer.unusable_reason:
            return 1.0 if self.tau is not None else 0.0
        return max((rouge_l(answer.text, other.text) for other in self._kept.values()), default=0.0)
