"""LMentry (Efrat et al. 2022): elementary language tasks, marked by the scorers of the clone that the user names.

Importing a clone's scorers runs its code: name a clone that you trust (docs/benchmarks/lmentry.md).
"""

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from tuna.console import Progress
from tuna.data.record import Record
from tuna.errors import ConfigError
from tuna.evaluation.base import Benchmark, Question, Result, spread
from tuna.evaluation.desk import Desk
from tuna.evaluation.given import GivenAnswers
from tuna.evaluation.lmentry.data import Example, clone, read_files
from tuna.evaluation.lmentry.figures import Tally, figures, part_rows, task_rows
from tuna.evaluation.lmentry.scorers import Scorers
from tuna.evaluation.lmentry.tasks import CORE, SCORER
from tuna.inference.cost import Usage

FIGURES = 1  # the version of how figures are made


@dataclass
class LMentry(Benchmark):
    """25 core tasks of three templates each, and 16 files more that show robustness; greedy answers.

    root: a clone of aviaefrat/lmentry, whose scorers are run. data: the folder of the 41 files; null is the clone's.
    partial: take means over what is there when files or a whole task's answers are missing. max_tokens: of an answer
    (its owners' code takes 50). truncate: mark the first sentence only, as its owners do for models that never stop.
    processes: that score at once; null is one a core.

    Raises:
        ConfigError: a value out of range.
    """

    root: str | None = None
    data: str | None = None
    partial: bool = False
    max_tokens: int = 50
    truncate: bool = False
    processes: int | None = None

    name: ClassVar[str] = "lmentry"

    def __post_init__(self) -> None:
        wrong = [
            f"{key}: expected 1 or more, got {value}"
            for key, value in (("max_tokens", self.max_tokens), ("processes", self.processes))
            if value is not None and value < 1
        ]
        if wrong:
            raise ConfigError("\n".join(wrong))

    def prepare(self, limit: int | None) -> None:
        """Find the clone, read the files, try the scorers."""
        root = clone(self.root)
        self._data = read_files(Path(self.data).expanduser() if self.data else root / "data", partial=self.partial)
        self._scorers = Scorers(root, truncate=self.truncate)
        self._scorers.check()
        every = [example for file in self._data.files for example in file.examples]
        self._cut = limit is not None and limit < len(every)
        self._examples = spread(every, [f"{example.task} {example.template}" for example in every], limit)

    def identity(self) -> dict[str, Any]:
        """What shapes the figures."""
        return {
            "benchmark": self.name, "data": self._data.sha256, "scorers": self._scorers.sha256(), "figures": FIGURES,
            "max_tokens": self.max_tokens, "truncate": self.truncate, "partial": self.partial,
        }  # fmt: skip

    def _questions(self) -> list[Question]:
        return [Question(e.key, Record(e.key, e.input), e.task) for e in self._examples]

    def check(self, given: GivenAnswers | None, generation: Any) -> None:
        """A file must answer some question."""
        if given is not None:
            given.match(self._questions())

    def estimate(self, desk: Desk) -> dict[str, Usage]:
        """The answers, where a server gives them."""
        return {"answers": desk.estimate(self._questions(), max_tokens=self.max_tokens)}

    def measure(self, desk: Desk) -> Result:
        """Accuracy, robustness and the score; by task, and by what robustness compares."""
        answers = desk.answer(self._questions(), max_tokens=self.max_tokens)
        there = [example for example in self._examples if example.key in answers]
        marks = self._marks(there, [answers[example.key] for example in there])
        tallies = self._tallies()
        canary = {file.name: file.canary for file in self._data.files}
        examples = []
        for example, (score, certainty) in zip(there, marks, strict=True):
            tallies[example.task].add(example.template, example.answer_index, score, certainty)
            examples.append({
                "id": example.id, "task": example.task, "template": example.template, "instruction": example.input,
                "prediction": answers[example.key], "scores": {"score": score, "certainty": certainty},
                "canary": canary[example.task],
            })  # fmt: skip
        return Result(
            scores=figures(tallies, partial=self.partial or self._cut),
            primary="lmentry_score",
            examples=examples,
            expected=len(self._examples),
            missing=[example.key for example in self._examples if example.key not in answers],
            tables={
                "by_task": task_rows(tallies, CORE),
                "by_content": task_rows(tallies, [name for name in SCORER if name not in CORE]),
                "robustness": part_rows(tallies),
            },
            notes=self._notes(tallies),
        )

    def _marks(self, examples: list[Example], predictions: list[str]) -> list[tuple[int, int]]:
        progress, lock = Progress("scores", len(examples)), threading.Lock()

        def done(count: int) -> None:
            with lock:
                progress.update(count)

        processes = self.processes or os.cpu_count() or 1
        marks = self._scorers.mark(examples, predictions, processes, done)
        progress.close()
        return marks

    def _tallies(self) -> dict[str, Tally]:
        """Empty tallies. Its owners divide by the number in a file's settings; under a limit it is what is asked."""
        asked = {file.name: [0 if self._cut else file.per_template] * file.templates for file in self._data.files}
        indices: dict[str, set[int | None]] = {name: set() for name in asked}
        for example in self._examples:
            asked[example.task][example.template] += self._cut
            indices[example.task].add(example.answer_index)
        return {name: Tally(counts, frozenset({0, 1} - indices[name])) for name, counts in asked.items()}

    def _notes(self, tallies: Mapping[str, Tally]) -> list[str]:
        notes = []
        if self._data.missing:
            notes.append(
                f"partial=true: {len(self._data.missing)} of {len(SCORER)} files are missing "
                f"({', '.join(self._data.missing)}); means are over the rest, so these are not LMentry's figures"
            )
        without = [name for name, tally in tallies.items() if not tally.answered]
        if without and not self._cut:
            end = (
                "partial=true: means are over the rest, so these are not LMentry's figures"
                if self.partial
                else "so no figure that needs them; benchmark.partial=true takes means over the rest"
            )
            notes.append(f"{len(without)} tasks have no answer ({', '.join(without)}); {end}")
        if not self._cut:
            other = [f.name for f in self._data.files if len(f.examples) != f.per_template * f.templates]
            if other:
                notes.append(
                    "the number of examples is not what the file's settings say, by which its owners divide: "
                    + ", ".join(other)
                )
        return notes
