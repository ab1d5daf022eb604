"""The question record, the register of tasks, and the split into a train part and a held-out part."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

HELD_OUT_PERCENT = 25
GRADES = (1, 2, 3)
_TRIES = 60  # draws per question that is wanted: small tasks have few arguments


@dataclass(frozen=True)
class Question:
    """One instruction with its answer; `tuna.assets.replies` says what check, answers and count mean.

    Attributes:
        key: the argument that is asked about, whatever the wording; decides the part.
        grade: 1 (easy) to 3.
        output: a short answer that is right.
    """

    key: str
    grade: int
    instruction: str
    output: str
    check: str
    answers: tuple[str, ...]
    input: str = ""
    count: int | None = None

    @property
    def held_out(self) -> bool:
        """Whether it belongs to the held-out part: a hash of the key decides, never a seed, and for all tasks alike.

        >>> Question("hot cold", 1, "Say the opposite of hot.", "cold", "says", ("cold",)).held_out in (True, False)
        True
        """
        return zlib.crc32(f"english|{self.key}".encode()) % 100 < HELD_OUT_PERCENT

    def record(self, identifier: str, task: str) -> dict[str, Any]:
        """The question as a JSON record."""
        record = {
            "id": identifier,
            "task": task,
            "grade": self.grade,
            "instruction": self.instruction,
            "input": self.input,
            "output": self.output,
            "check": self.check,
            "answers": list(self.answers),
        }
        return record if self.count is None else {**record, "count": self.count}


Task = Callable[[random.Random, int], Question]
TASKS: dict[str, Task] = {}


def task(function: Task) -> Task:
    """Registers a task, a function of a random generator and a grade, under the function's name."""
    if function.__name__ in TASKS:
        raise ValueError(f"two tasks are named {function.__name__}")
    TASKS[function.__name__] = function
    return function


def says(
    key: str, grade: int, wordings: Sequence[str], answers: Sequence[str], rng: random.Random, text: str = ""
) -> Question:
    """A question whose answer is a word or a phrase; the first of the answers is the one given as output."""
    return Question(key, grade, rng.choice(wordings), answers[0], "says", tuple(answers), text)


def number(key: str, grade: int, wordings: Sequence[str], answer: int, rng: random.Random, text: str = "") -> Question:
    """A question whose answer is a number."""
    return Question(key, grade, rng.choice(wordings), str(answer), "number", (str(answer),), text)


def listed(
    key: str, grade: int, wordings: Sequence[str], answers: Sequence[str], rng: random.Random, text: str = "",
    check: str = "items",
) -> Question:  # fmt: skip
    """A question whose answer is a list, in any order or, with check ``sequence``, in this one."""
    return Question(key, grade, rng.choice(wordings), ", ".join(answers), check, tuple(answers), text)


def make_part(seed: int, held_out: bool, count: int, grades: Sequence[int] = GRADES) -> list[dict[str, Any]]:
    """About `count` questions of one part, as many of each task and grade, shuffled.

    No question stands twice; an argument is asked about again, in another wording, only where a task has no new one
    left, and in the held-out part never. Tasks that run short are made up for by the others.
    """
    rng = random.Random(f"{seed} {held_out}")
    cells = [_Cell(name, grade, held_out) for name in sorted(TASKS) for grade in grades]
    seen: set[tuple[str, str]] = set()
    open_cells, wanted = cells, 0
    while open_cells and len(seen) < count:
        wanted += max(1, (count - len(seen)) // len(open_cells))
        open_cells = [cell for cell in open_cells if cell.fill(rng, wanted, seen)]
    rows = [(cell.task, question) for cell in cells for question in cell.questions]
    rng.shuffle(rows)
    prefix = "held-out" if held_out else "train"
    return [question.record(f"{prefix}-{number:05d}", name) for number, (name, question) in enumerate(rows[:count])]


class _Cell:
    """The questions of one task and grade in one part."""

    def __init__(self, task: str, grade: int, held_out: bool) -> None:
        self.task, self.grade, self.held_out = task, grade, held_out
        self.questions: list[Question] = []

    def fill(self, rng: random.Random, wanted: int, seen: set[tuple[str, str]]) -> bool:
        """Draws until there are as many questions as wanted, none of them seen; False where there are no more."""
        for again in (False,) if self.held_out else (False, True):
            keys = {question.key for question in self.questions}
            for _ in range(_TRIES * (wanted - len(self.questions))):
                question = TASKS[self.task](rng, self.grade)
                asked = (question.instruction, question.input)
                if question.held_out != self.held_out or asked in seen or (question.key in keys and not again):
                    continue
                seen.add(asked)
                keys.add(question.key)
                self.questions.append(question)
                if len(self.questions) == wanted:
                    return True
        return len(self.questions) >= wanted
