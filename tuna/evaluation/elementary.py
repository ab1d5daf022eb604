"""The elementary benchmark for evaluate.py: greedy answers to the embedded held-out questions, marked."""

from dataclasses import dataclass
from typing import Any, ClassVar

from tuna import assets
from tuna.assets.checker import is_checkable, mark
from tuna.assets.elementary import held_out_records, marked
from tuna.data.files import sha256_file
from tuna.data.record import Record
from tuna.errors import ConfigError
from tuna.evaluation.base import Benchmark, Question, Result, spread
from tuna.evaluation.desk import Desk
from tuna.evaluation.given import GivenAnswers
from tuna.inference.cost import Usage
from tuna.stats import bootstrap_interval


@dataclass
class EmbeddedTasks(Benchmark):
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
        records = held_out_records()
        self._records = spread(records, [str(record["task"]) for record in records], limit)

    def identity(self) -> dict[str, Any]:
        """What shapes the figures."""
        digest = sha256_file(assets.path("instructions/held_out.jsonl"))
        return {"benchmark": self.name, "data": digest, "max_tokens": self.max_tokens}

    def _questions(self) -> list[Question]:
        return [
            Question(
                str(r["id"]), Record(str(r["id"]), str(r["instruction"]), str(r.get("input") or "")), str(r["task"])
            )
            for r in self._records
        ]

    def check(self, given: GivenAnswers | None, generation: Any) -> None:
        """A file must answer some question."""
        if given is not None:
            given.match(self._questions())

    def estimate(self, desk: Desk) -> dict[str, Usage]:
        """The answers, where a server gives them."""
        return {"answers": desk.estimate(self._questions(), max_tokens=self.max_tokens)}

    def measure(self, desk: Desk) -> Result:
        """Accuracy on checkable questions, the mean mark of the open-ended ones; both by task."""
        answers = desk.answer(self._questions(), max_tokens=self.max_tokens)
        texts = [answers.get(str(record["id"]), "") for record in self._records]  # no answer is a wrong answer
        result = marked(self._records, texts)
        marks = [mark(record, text) for record, text in zip(self._records, texts, strict=True)]
        right = [float(m == 1.0) for r, m in zip(self._records, marks, strict=True) if is_checkable(r)]
        open_ended = [m for r, m in zip(self._records, marks, strict=True) if not is_checkable(r)]
        intervals = {
            name: bootstrap_interval(each, desk.seed)
            for name, each in (("accuracy", right), ("open_ended", open_ended))
            if each
        }
        return Result(
            scores={
                "accuracy": result.accuracy if right else None, "open_ended": result.open_ended if open_ended else None,
            },
            primary="accuracy",
            examples=[
                {
                    "id": record["id"], "task": record["task"], "instruction": record["instruction"],
                    "prediction": text, "references": list(record["answers"]), "scores": _score_of(record, points),
                }
                for record, text, points in zip(self._records, texts, marks, strict=True)
            ],
            expected=len(self._records),
            missing=[str(record["id"]) for record in self._records if record["id"] not in answers],
            tables={
                "by_task": [
                    {"task": task, "n": n, "accuracy": good / n} for task, (good, n) in result.by_task.items()
                ]
            },
            intervals={name: (interval.low, interval.high) for name, interval in intervals.items()},
        )  # fmt: skip


def _score_of(record: dict[str, Any], points: float) -> dict[str, float]:
    """One question's part of its figure, so that two systems can be compared question by question."""
    return {"accuracy": float(points == 1.0)} if is_checkable(record) else {"open_ended": points}
