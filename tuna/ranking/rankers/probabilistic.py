"""Probabilistic ranking (Section 2.2): a teacher answers N times, Eq. 3 orders the answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Interval

from tuna.assets import is_embedded
from tuna.config.types import checked
from tuna.data.ranking import eq3
from tuna.data.record import Record, was_cut
from tuna.errors import ConfigError
from tuna.inference.answers import Answer
from tuna.inference.context import Context
from tuna.judges.base import Case, Ruling
from tuna.ranking.collection import Components, Ranker


@checked
@dataclass
class Probabilistic(Ranker):
    """Asks cfg.teacher for answers, or has it score given ones.

    n: answers per instruction. beta: length exponent of Eq. 3, 0 to 5; training may choose another.
    """

    n: Annotated[int, Ge(2)] = 4
    beta: Annotated[float, Interval(ge=0, le=5)] = 1.3  # up to LARGEST_BETA

    kind: ClassVar[str] = "probabilistic"
    asked: ClassVar[str] = "teacher"

    def needs(self, score_only: bool) -> tuple[str, ...]:
        """The config's nodes that it uses."""
        return ("teacher",)

    def embedded(self, parts: Components) -> bool:
        """Whether only embedded models are asked, which the embedded instructions fit."""
        return is_embedded(getattr(parts.teacher, "path", None))

    def _answerer(self, parts: Components) -> Any:
        return parts.teacher

    def _source(self, parts: Components) -> dict[str, Any]:
        if not parts.score_only:
            return super()._source(parts)
        if not hasattr(parts.teacher, "score"):
            raise ConfigError(
                "score_only: a server gives no log-probabilities of given answers; next: teacher=local "
                "teacher.path=<a folder or a hub id>"
            )
        teacher = parts.teacher.identity(parts.seed)
        return {"n": self.n, **{key: value for key, value in teacher.items() if key != "seed"}}

    def _order(self, parts: Components) -> dict[str, Any]:
        return {"beta": self.beta}

    def _answers(self, records: Sequence[Record], parts: Components, context: Context) -> Sequence[Sequence[Answer]]:
        found = super()._answers(records, parts, context)
        return parts.teacher.score(records, found, context) if parts.score_only else found

    def _unusable(self, answer: Answer) -> str | None:
        if answer.unusable_reason or (answer.logprob is not None and answer.num_tokens):
            return answer.unusable_reason
        return answer.unscored or "no log-probability"

    def _rank(self, cases: Sequence[Case], parts: Components, context: Context) -> Sequence[Ruling]:
        """Minus Eq. 3. An answer that was drawn twice, in batches that round differently, has the better number."""
        rulings = []
        for case in cases:
            same = [(a.text, was_cut(a.finish_reason)) for a in case.answers]  # what makes two answers one
            best: dict[tuple[str, bool], float] = {}
            for key, answer in zip(same, case.answers, strict=True):
                score = eq3(answer.logprob or 0.0, answer.num_tokens or 1, self.beta)
                best[key] = max(score, best.get(key, score))
            rulings.append(Ruling([-best[key] for key in same]))
        return rulings
