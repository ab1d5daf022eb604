"""The paper's rule for samples that differ (Section 3.1): every pair below tau in ROUGE-L.

A sample that is too similar to one already kept is dropped, the temperature rises by a step and another is drawn in its
place. After ``trials`` such resamples have failed, the least similar of all that were tried is kept. A sample once kept
is never given up, so a set that passes is final.
"""

from collections.abc import Mapping
from dataclasses import replace

from tuna.inference.answers import Answer
from tuna.inference.backend import AnswerSet
from tuna.judges.checker import rouge_l


class DiverseSet(AnswerSet):
    """``n`` places to fill. tau: highest ROUGE-L allowed, exclusive."""

    def __init__(self, n: int, tau: float = 0.8, trials: int = 3) -> None:
        super().__init__(n)
        self.tau, self.trials = tau, trials
        self._tried: dict[int, list[Answer]] = {place: [] for place in range(n)}

    def missing(self) -> list[tuple[int, int]]:
        """Places still to be drawn for, each with the number of its next trial (0 is the first draw)."""
        tried = self._tried
        return [(k, len(tried[k])) for k in range(self.n) if k not in self.kept and len(tried[k]) <= self.trials]

    def offer(self, drawn: Mapping[int, Answer]) -> None:
        """Keep what passes, in the order of places; remember the rest."""
        for place, answer in sorted(drawn.items()):
            similarity = self._similarity(answer)
            if similarity < self.tau:
                self.kept[place] = replace(answer, similarity=round(similarity, 4))
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
        for place, tried in self._tried.items():
            if place not in self.kept and tried:
                best = min(tried, key=self._similarity)
                self.kept[place] = replace(best, similarity=round(self._similarity(best), 4))
        return super().finish()

    def _similarity(self, answer: Answer) -> float:
        """To the most similar one kept; an answer without text is like any."""
        if answer.unusable_reason:
            return 1.0
        return max((rouge_l(answer.text, other.text) for other in self.kept.values()), default=0.0)
