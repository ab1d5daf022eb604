"""LMentry (Efrat et al. 2022): elementary language tasks, marked by the scorers of the clone that the user names."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from annotated_types import Ge

from tuna.config.types import checked
from tuna.evaluation.base import Benchmark, EvalContext, Result
from tuna.evaluation.lmentry.clone import CLONE, REPOSITORY, SCORERS, Example, check_scorers, mark, read_tasks
from tuna.evaluation.lmentry.figures import CORE, SCORER, Tally, figures, intervals, part_rows, task_rows
from tuna.evaluation.questions import find_clone, spread

FIGURES = 1  # the version of how figures are made


@checked
@dataclass
class LMentry(Benchmark):
    """25 core tasks of three templates each, and 16 files more that show robustness; greedy answers."""

    root: str | None = None  # a clone of aviaefrat/lmentry that you trust: its scorers are run
    data: str | None = None  # the folder of the 41 files; null: the clone's
    partial: bool = False  # take means over what is there when files or a whole task's answers are missing
    max_tokens: Annotated[int, Ge(1)] = 50  # tokens of an answer at most, as in its owners' code
    truncate: bool = False  # mark the first sentence only, as its owners do for models that never stop
    processes: Annotated[int, Ge(1)] | None = None  # processes that score at once; null: one per core

    name: ClassVar[str] = "lmentry"
    shaped_by = ("max_tokens", "truncate", "partial")

    def prepare(self, limit: int | None) -> None:
        """Find the clone, read the files, try the scorers."""
        self._clone = find_clone(self.root, REPOSITORY, CLONE, SCORERS).absolute()
        data = Path(self.data).expanduser() if self.data else self._clone / "data"
        self._files, self._missing, sha256 = read_tasks(data, partial=self.partial)
        self.hashes = {"data": sha256, "scorers": check_scorers(self._clone), "figures": FIGURES}
        every = [example for file in self._files for example in file.examples]
        self._cut = limit is not None and limit < len(every)
        self.asked: list[Example] = spread(every, limit, lambda example: (example.task, example.template))

    def measure(self, context: EvalContext) -> Result:
        """Accuracy, robustness and the score; by task, and by what robustness compares."""
        answers = context.answer(self.asked, max_tokens=self.max_tokens)
        there = [example for example in self.asked if example.id in answers]
        predictions, processes = [answers[example.id] for example in there], self.processes or os.cpu_count() or 1
        marks = mark(self._clone, there, predictions, processes, truncate=self.truncate)
        tallies = self._tallies()
        canary = {file.name: file.canary for file in self._files}
        examples = []
        for example, (score, certainty) in zip(there, marks, strict=True):
            tallies[example.task].add((example.template, example.answer_index), score, certainty)
            scores = {"score": score, "certainty": certainty}
            more = {"template": example.template, "prediction": answers[example.id], "canary": canary[example.task]}
            examples.append(context.example(example, scores, **more) | {"id": example.own_id})
        partial = self.partial or self._cut
        return Result(
            scores=figures(tallies, partial=partial),
            intervals=intervals(tallies, partial=partial, seed=context.seed),
            primary="lmentry_score",
            examples=examples,
            expected=len(self.asked),
            missing=[example.id for example in self.asked if example.id not in answers],
            tables={
                "by_task": task_rows(tallies, CORE),
                "by_content": task_rows(tallies, [name for name in SCORER if name not in CORE]),
                "robustness": part_rows(tallies),
            },
            notes=self._notes(tallies),
        )

    def _tallies(self) -> dict[str, Tally]:
        """Empty tallies. Its owners divide by the number in a file's settings; under a limit it is what is asked."""
        asked = {file.name: [0 if self._cut else file.per_template] * file.templates for file in self._files}
        indices: dict[str, set[int | None]] = {name: set() for name in asked}
        for example in self.asked:
            asked[example.task][example.template] += self._cut
            indices[example.task].add(example.answer_index)
        return {name: Tally(counts, frozenset({0, 1} - indices[name])) for name, counts in asked.items()}

    def _notes(self, tallies: Mapping[str, Tally]) -> list[str]:
        notes = []
        rest = "means are over the rest, so these are not LMentry's figures"
        if self._missing:
            missing = f"{len(self._missing)} of {len(SCORER)} files are missing ({', '.join(self._missing)})"
            notes.append(f"partial=true: {missing}; {rest}")
        if self._cut:
            return notes
        if without := [name for name, tally in tallies.items() if not tally.given]:
            no_figure = "so no figure that needs them; benchmark.partial=true takes means over the rest"
            end = f"partial=true: {rest}" if self.partial else no_figure
            notes.append(f"{len(without)} tasks have no answer ({', '.join(without)}); {end}")
        if other := [file.name for file in self._files if len(file.examples) != file.per_template * file.templates]:
            wrong = "the number of examples is not what the file's settings say, by which its owners divide"
            notes.append(f"{wrong}: {', '.join(other)}")
        return notes
