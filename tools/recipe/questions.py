"""The question record, the register of tasks and the split into a train part and a held-out part."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from tools.recipe.world import World

HELD_OUT_PERCENT = 15


@dataclass(frozen=True)
class Question:
    """One instruction with its answer.

    Attributes:
        task: the name of its task.
        key: the argument that the task is asked about, whatever the wording; decides the part.
        instruction: the wording.
        input: a further text, often empty.
        output: the original answer.
        check: how an answer is judged: ``one_of``, ``all_of``, ``in_order`` or ``facts``.
        answers: what the check needs.
        about: the thing that an open-ended question is about.
    """

    task: str
    key: str
    instruction: str
    input: str
    output: str
    check: str
    answers: tuple[str, ...]
    about: str = ""

    @property
    def held_out(self) -> bool:
        """Whether it belongs to the held-out part: a hash of task and key decides, never a seed.

        >>> question = Question("opposite", "hot", "Say the opposite of hot.", "", "cold", "one_of", ("cold",))
        >>> question.held_out in (True, False)
        True
        """
        return zlib.crc32(f"{self.task}|{self.key}".encode()) % 100 < HELD_OUT_PERCENT

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Question:
        """The question of a JSON record; its key is not kept there, the record's id stands in for it."""
        task, key, instruction, text, output, check = (
            str(record[field]) for field in ("task", "id", "instruction", "input", "output", "check")
        )
        return cls(task, key, instruction, text, output, check, tuple(record["answers"]))

    def record(self, identifier: str) -> dict[str, Any]:
        """The question as a JSON record."""
        record = {
            "id": identifier,
            "instruction": self.instruction,
            "input": self.input,
            "output": self.output,
            "task": self.task,
            "check": self.check,
            "answers": list(self.answers),
        }
        return {**record, "about": self.about} if self.about else record


Task = Callable[[random.Random, World], Question]
TASKS: dict[str, Task] = {}


def task(function: Task) -> Task:
    """Registers a task under the function's name."""
    TASKS[function.__name__] = function
    return function


def registered(module: ModuleType) -> list[str]:
    """The names of a module's tasks, in the order of the file."""
    return [name for name, function in TASKS.items() if function.__module__ == module.__name__]


def ask(rng: random.Random, world: World, name: str, held_out: bool) -> Question:
    """One question of a task, from the part that is asked for."""
    while True:
        question = TASKS[name](rng, world)
        if question.held_out == held_out:
            return question


def distinct(draws: Iterable[Question], wanted: int, key: Callable[[Question], object]) -> list[Question]:
    """The first questions that differ in ``key``, as many as are wanted; no more are drawn than that takes."""
    found: dict[object, Question] = {}
    for question in draws:
        found.setdefault(key(question), question)
        if len(found) == wanted:
            break
    return [*found.values()]
