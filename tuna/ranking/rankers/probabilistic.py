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
from tuna.inference.cost import Usage
from tuna.judges.base import Case, Ruling
from tuna.ranking.collection import Components, Ranker


@checked
@dataclass
class Probabilistic(Ranker):
    """Asks cfg.teacher for answers, or has it score given ones.

    n: answers per instruction. beta: length exponent of Eq. 3, 0 to 5; training may choose another.

    Raises:
        ConfigError: values out of range.
    """

    n: Annotated[int, Ge(2)] = 4
    beta: Annotated[float, Interval(ge=0, le=5)] = 1.3  # up to LARGEST_BETA

    kind: ClassVar[str] = "probabilistic"

    def needs(self, score_only: bool) -> tuple[str, ...]:
        """The config's nodes that it uses."""
        return ("teacher",)

    def embedded(self, parts: Components) -> bool:
        """Whether only embedded models are asked, which the embedded instructions fit."""
        return is_embedded(getattr(parts.teacher, "path", None))

    def prices(self, parts: Components, context: Context) -> dict[str, Any]:
        """Journal -> price, for summing up what was used."""
        return {"answers": parts.teacher.price_in(context.prices)}

    def estimate(self, records: Sequence[Record], parts: Components, context: Context) -> dict[str, Usage]:
        """What is still to be asked at most, by who is asked."""
        return {} if parts.score_only else {"teacher": parts.teacher.estimate(records, self.n, context)}

    def _source(self, parts: Components) -> dict[str, Any]:
        if parts.score_only and not parts.teacher.scores:
            raise ConfigError(
                "score_only: a server gives no log-probabilities of given answers; next: teacher=local "
                "teacher.path=<a folder or a hub id>"
            )
        teacher = parts.teacher.identity()
        drawn = not parts.score_only and teacher["teacher"] == "local"
        return {"n": self.n, **teacher, **({"seed": parts.seed} if drawn else {})}

    def _order(self, parts: Components) -> dict[str, Any]:
        return {"beta": self.beta}

    def _answers(self, records: Sequence[Record], parts: Components, context: Context) -> Sequence[Sequence[Answer]]:
        found: Sequence[Sequence[Answer]]
        if parts.score_only:
            found = parts.teacher.score(records, super()._answers(records, parts, context), context)
        else:
            found = parts.teacher.answer(records, self.n, context)
        return found

    def _lacks(self, record: Record, parts: Components, context: Context) -> str:
        return "" if parts.score_only else context.aside.get(parts.teacher.key(record, self.n), "")

    def _answerer(self, parts: Components) -> str:
        return str(parts.teacher.name)

    def _unusable(self, answer: Answer) -> str | None:
        if answer.unusable_reason or (answer.logprob is not None and answer.num_tokens):
            return answer.unusable_reason
        return answer.unscored or "no log-probability"

    def _rank(self, cases: Sequence[Case], parts: Components, context: Context) -> Sequence[Ruling]:
        """Minus Eq. 3. An answer that was drawn twice, in batches that round differently, has the better number."""
        rulings = []
        for case in cases:
            scores = [eq3(a.logprob or 0.0, a.num_tokens or 1, self.beta) for a in case.answers]
            best: dict[tuple[str, bool], float] = {}
            for answer, score in zip(case.answers, scores, strict=True):
                best[_same(answer)] = max(score, best.get(_same(answer), score))
            rulings.append(Ruling([-best[_same(answer)] for answer in case.answers]))
        return rulings


def _same(answer: Answer) -> tuple[str, bool]:
    """What makes two answers one: the text, and whether it was cut."""
    return answer.text, was_cut(answer.finish_reason)
