"""The elementary benchmark: greedy answers to the embedded held-out questions, marked by their checker."""

from dataclasses import dataclass
from statistics import fmean
from typing import Annotated, ClassVar

from annotated_types import Ge

from tuna import assets
from tuna.assets.checker import is_checkable, mark
from tuna.config.types import checked
from tuna.data.files import sha256_file
from tuna.data.record import Record
from tuna.evaluation.base import Benchmark, EvalContext, Result
from tuna.evaluation.questions import Question, spread
from tuna.inference.elementary import held_out_records
from tuna.stats import bootstrap_interval


@checked
@dataclass
class Elementary(Benchmark):
    """Greedy answers to the embedded held-out questions, marked by their checker."""

    max_tokens: Annotated[int, Ge(1)] = 48  # of an answer
    name: ClassVar[str] = "elementary"
    shaped_by = ("max_tokens",)

    def prepare(self, limit: int | None) -> None:
        """Read the questions."""
        self.hashes = {"data": sha256_file(assets.path("instructions/held_out.jsonl"))}
        self._rows = spread(held_out_records(), limit, lambda row: row["task"])
        self.asked = [
            Question(row["id"], Record(row["id"], row["instruction"], row.get("input") or ""), row["task"])
            for row in self._rows
        ]

    def measure(self, context: EvalContext) -> Result:
        """Accuracy on checkable questions, the mean mark of the open-ended ones; both by task."""
        answers = context.answer(self.asked, max_tokens=self.max_tokens)
        figures: dict[str, list[float]] = {"accuracy": [], "open_ended": []}
        by_task: dict[str, list[float]] = {}
        examples = []
        for question, row in zip(self.asked, self._rows, strict=True):
            text = answers.get(row["id"], "")  # no answer is a wrong answer
            figure, value = "open_ended", mark(row, text)
            if is_checkable(row):
                figure, value = "accuracy", float(value == 1.0)
                by_task.setdefault(row["task"], []).append(value)
            figures[figure].append(value)
            references = list(row["answers"])
            examples.append(context.example(question, {figure: value}, prediction=text, references=references))
        return Result(
            scores={name: fmean(values) if values else None for name, values in figures.items()},
            primary="accuracy",
            examples=examples,
            expected=len(self.asked),
            missing=[question.id for question in self.asked if question.id not in answers],
            tables={
                "by_task": [{"task": t, "n": len(by_task[t]), "accuracy": fmean(by_task[t])} for t in sorted(by_task)]
            },
            intervals={name: bootstrap_interval(values, context.seed) for name, values in figures.items()},
        )
