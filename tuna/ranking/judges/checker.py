"""The offline judge: the embedded tasks' own checker; elsewhere ROUGE-L to the original response."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tuna.assets.checker import mark
from tuna.data.record import Record
from tuna.ranking.context import Context
from tuna.ranking.cost import Price, Prices, Usage
from tuna.ranking.judges.base import Case, NoRuling, Ruling, dense_levels
from tuna.ranking.rouge import rouge_l


@dataclass
class Checker:
    """Marks each answer by itself; equal marks are ties. Costs nothing and sends nothing.

    use_rouge: rank by ROUGE-L to the original response where a record cannot be checked; else it gets no ruling.
    """

    use_rouge: bool = True

    def identity(self) -> dict[str, Any]:
        """What shapes its rulings."""
        return {"judge": "checker", "use_rouge": self.use_rouge}

    def price_in(self, prices: Prices) -> Price | None:
        """Nothing."""
        return Price(0.0, 0.0)

    def estimate(self, records: Sequence[Record], n: int, answer_tokens: int, context: Context) -> Usage:
        """Nothing."""
        return Usage()

    def judge(self, cases: Sequence[Case], context: Context) -> list[Ruling | NoRuling]:
        """A ruling a case."""
        return [self._rule(case) for case in cases]

    def _rule(self, case: Case) -> Ruling | NoRuling:
        record = case.record
        if "check" in record.extra and "answers" in record.extra:
            marks, by = [mark(record.extra, answer.text) for answer in case.answers], "checker"
        elif self.use_rouge and record.output is not None and record.output.strip():
            marks, by = [rouge_l(answer.text, record.output) for answer in case.answers], "rouge"
        else:
            return NoRuling("judge=checker has neither check and answers nor an original response (output) to go by")
        marks = [round(value, 6) for value in marks]
        return Ruling(dense_levels([-value for value in marks]), marks, notes={"by": by})
