"""Contextual ranking (Section 2.3): the model being tuned answers N times, differently; a judge orders the answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from annotated_types import Interval

from tuna.config.types import checked
from tuna.data.record import Record
from tuna.inference.answers import ORIGINAL, Answer
from tuna.inference.context import Context
from tuna.inference.cost import Usage
from tuna.judges.base import Case, NoRuling, Ruling
from tuna.ranking.collection import Components, Ranker


@checked
@dataclass
class Contextual(Ranker):
    """Samples from cfg.model by cfg.sampler, then asks cfg.judge. score_only=true judges given answers instead.

    n: answers per instruction. original: the original response is ranked as one more answer, where none of them equals
    it, so that a list of wrong answers alone says something too. answer_tokens: expected tokens of an answer, for the
    estimate of the judge's cost.
    """

    n: Annotated[int, Interval(ge=2, le=25)] = 4
    original: bool = False
    answer_tokens: int = 80

    kind: ClassVar[str] = "contextual"

    def needs(self, score_only: bool) -> tuple[str, ...]:
        """The config's nodes that it uses."""
        return ("judge", *super().needs(score_only))

    def prices(self, parts: Components, context: Context) -> dict[str, Any]:
        """Journal -> price, for summing up what was used."""
        return {**super().prices(parts, context), "verdicts": parts.judge.price_in(context.prices)}

    def estimate(self, records: Sequence[Record], parts: Components, context: Context) -> dict[str, Usage]:
        """What is still to be asked at most, by who is asked."""
        judged = parts.judge.estimate(records, self.n + self.original, self.answer_tokens, context)
        return {**super().estimate(records, parts, context), "judge": judged}

    def _order(self, parts: Components) -> dict[str, Any]:
        return {**parts.judge.identity(), "seed": parts.seed, **({"original": True} if self.original else {})}

    def _ranked(self, record: Record, answers: Sequence[Answer]) -> Sequence[Answer]:
        output = record.output or ""
        if not (self.original and answers and output.strip()) or output in [answer.text for answer in answers]:
            return answers
        return [*answers, Answer(output, source=ORIGINAL)]

    def _rank(self, cases: Sequence[Case], parts: Components, context: Context) -> Sequence[Ruling | NoRuling]:
        rulings: Sequence[Ruling | NoRuling] = parts.judge.judge(cases, context)
        return rulings
