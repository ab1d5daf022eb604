"""The elementary benchmark: greedy answers to questions that a checker marks, the embedded ones or a file of others."""

from dataclasses import dataclass
from statistics import fmean
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge

from tuna import assets
from tuna.assets.checker import CHECKS, is_checkable, mark
from tuna.assets.replies import fault
from tuna.config.types import checked
from tuna.data import fields
from tuna.data.fields import FieldError
from tuna.data.record import Record
from tuna.evaluation.base import Benchmark, EvalContext, Result
from tuna.evaluation.questions import Faults, read_questions, spread
from tuna.stats import bootstrap_interval


@checked
@dataclass
class Elementary(Benchmark):
    """Greedy answers to questions that the checker marks: ``tuna.assets.checker`` says by which fields of a row."""

    questions: str | None = None  # a file of rows with instruction, check and answers; null: the embedded ones
    max_tokens: Annotated[int, Ge(1)] = 48  # tokens of an answer at most
    primary: Literal["accuracy", "balanced"] = "accuracy"  # balanced: half of it, half of the open-ended mark
    name: ClassVar[str] = "elementary"
    shaped_by = ("max_tokens",)

    def prepare(self, limit: int | None) -> None:
        """Read the questions."""
        read, faults = read_questions(self.questions or str(assets.path("instructions/held_out.jsonl"))), Faults()
        for question in read.questions:
            with faults.at(question.record.where):
                _check(question.record)
        faults.check()
        self.hashes = {"data": read.sha256}
        self.asked = spread(read.questions, limit, lambda question: question.task)

    def measure(self, context: EvalContext) -> Result:
        """Accuracy on checkable questions, the mean mark of the open-ended ones, the mean of all; by task and grade."""
        answers = context.answer(self.asked, max_tokens=self.max_tokens)
        figures: dict[str, list[float]] = {"accuracy": [], "open_ended": []}
        groups: dict[str, dict[str, list[float]]] = {"task": {}, "grade": {}}
        examples = []
        for question in self.asked:
            row = question.record.extra
            text = answers.get(question.id, "")  # no answer is a wrong answer
            figure, value = "open_ended", mark(row, text)
            if is_checkable(row):
                figure, value = "accuracy", float(value == 1.0)
                groups["task"].setdefault(question.task, []).append(value)
                if "grade" in row:
                    groups["grade"].setdefault(str(row["grade"]), []).append(value)
            figures[figure].append(value)
            references = list(row["answers"])
            examples.append(context.example(question, {figure: value}, prediction=text, references=references))
        if self.primary == "balanced":
            figures["balanced"] = _balance(examples, {name: len(values) for name, values in figures.items()})
        return Result(
            scores={name: fmean(values) if values else None for name, values in figures.items()},
            primary=self.primary,
            examples=examples,
            expected=len(self.asked),
            missing=[question.id for question in self.asked if question.id not in answers],
            tables={
                f"by_{by}": [{by: g, "n": len(found[g]), "accuracy": fmean(found[g])} for g in sorted(found)]
                for by, found in groups.items()
                if found or by == "task"
            },
            intervals={name: bootstrap_interval(values, context.seed) for name, values in figures.items() if values},
        )


def _balance(examples: list[dict[str, Any]], counts: dict[str, int]) -> list[float]:
    """What each example adds to the mean of the two sorts' means, times the number of all: N mark / (sorts n)."""
    sorts = sum(map(bool, counts.values()))
    found = []
    for example in examples:
        ((name, value),) = example["scores"].items()
        found.append(value * len(examples) / (sorts * counts[name]))
        example["scores"]["balanced"] = found[-1]
    return found


def _check(record: Record) -> None:
    """A FieldError where the checker cannot mark answers to a question."""
    row = record.extra
    if row.get("check") not in CHECKS:
        raise FieldError("check", f"one of {', '.join(CHECKS)}", row.get("check"))
    if not fields.texts(row, "answers"):
        raise FieldError("answers", "a list of one text or more", row["answers"])
    if not is_checkable(row):
        fields.text(row, "about")
    if wrong := fault(row):
        raise FieldError(*wrong)
