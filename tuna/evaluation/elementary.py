"""The elementary benchmark: greedy answers to the embedded held-out questions, marked by their checker."""

from dataclasses import dataclass
from typing import Any, ClassVar

from tuna import assets
from tuna.assets.checker import is_checkable, mark
from tuna.assets.elementary import held_out_records
from tuna.data.files import sha256_file
from tuna.stats import bootstrap_interval
from tuna.data.record import Record
from tuna.errors import ConfigError
from tuna.evaluation.base import Benchmark, EvalContext, Result
from tuna.evaluation.questions import Question, spread


@dataclass
class Elementary(Benchmark):
    """Greedy answers to the embedded held-out questions, marked by their checker.

    max_tokens: of an answer.

    Raises:
        ConfigError: a value out of range.
    """

    max_tokens: int = 48

    name: ClassVar[str] = "elementary"

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ConfigError(f"max_tokens: expected 1 or more, got {self.max_tokens}")

    def prepare(self, limit: int | None) -> None:
        """Read the questions."""
        self._rows = spread(held_out_records(), limit, lambda row: row["task"])
        self.asked = [
            Question(row["id"], Record(row["id"], row["instruction"], row.get("input") or ""), row["task"])
            for row in self._rows
        ]

    def identity(self) -> dict[str, Any]:
        """What shapes the figures."""
        digest = sha256_file(assets.path("instructions/held_out.jsonl"))
        return {"benchmark": self.name, "data": digest, "max_tokens": self.max_tokens}

    def measure(self, context: EvalContext) -> Result:
        """Accuracy on checkable questions, the mean mark of the open-ended ones; both by task."""
        answers = context.answer(self.asked, max_tokens=self.max_tokens)
        figures: dict[str, list[float]] = {"accuracy": [], "open_ended": []}
        by_task: dict[str, list[float]] = {}
        examples = []
        for row in self._rows:
            text = answers.get(row["id"], "")  # no answer is a wrong answer
            figure, value = "open_ended", mark(row, text)
            if is_checkable(row):
                figure, value = "accuracy", float(value == 1.0)
                by_task.setdefault(row["task"], []).append(value)
            figures[figure].append(value)
            examples.append({
                "id": row["id"], "task": row["task"], "instruction": row["instruction"], "prediction": text,
                "references": list(row["answers"]), "scores": {figure: value},
            })  # fmt: skip
        return Result(
            scores={name: sum(values) / len(values) if values else None for name, values in figures.items()},
            primary="accuracy",
            examples=examples,
            expected=len(self.asked),
            missing=[question.id for question in self.asked if question.id not in answers],
            tables={
                "by_task": [
                    {"task": task, "n": len(values), "accuracy": sum(values) / len(values)}
                    for task, values in sorted(by_task.items())
                ]
            },
            intervals={name: bootstrap_interval(values, context.seed) for name, values in figures.items()},
        )
