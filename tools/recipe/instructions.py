"""The instruction set: a train part and a held-out part that share no question and no single-word argument."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.recipe import hard_tasks, list_tasks, word_tasks
from tools.recipe.questions import Question, ask, distinct, registered
from tools.recipe.world import World

QUIZ_TASKS = tuple(sorted(registered(word_tasks) + registered(list_tasks)))
"""The tasks that the quizzes of the pretraining text are about."""

_EASY = {"bigger_thing", "kind", "name_by_colour", "place", "smallest_number"}
_DESCRIPTIONS = {"describe", "describe_briefly", "describe_fully"}
_COMMON = {*QUIZ_TASKS, *registered(hard_tasks)} - _EASY - _DESCRIPTIONS
TAUGHT_TASKS = tuple(sorted({*_COMMON, "describe"}))
"""The tasks of the teacher's first round: those of the quizzes but for the easiest, and the harder ones."""

DETAILED_TASKS = tuple(sorted({*_COMMON, "describe_fully"}))
"""The tasks of the teacher's last round: the same, with fuller descriptions."""

ASKED_TASKS = tuple(sorted({*_COMMON, "describe_briefly"}))
"""The tasks of the instruction set: the same, with shorter descriptions."""


def make_part(world: World, seed: int, held_out: bool, per_task: int, open_ended: int) -> list[dict[str, Any]]:
    """One part: up to `per_task` distinct questions a checkable task and `open_ended` open-ended ones, shuffled."""
    rng = random.Random(seed)
    questions: list[Question] = []
    for name in ASKED_TASKS:
        wanted = open_ended if name.startswith("describe") else per_task
        draws = (ask(rng, world, name, held_out) for _ in range(40 * wanted))
        questions += distinct(draws, wanted, lambda question: (question.instruction, question.input))
    rng.shuffle(questions)
    prefix = "held-out" if held_out else "train"
    return [question.record(f"{prefix}-{number:05d}") for number, question in enumerate(questions)]


def stream(world: World, seed: int, count: int, names: Sequence[str]) -> list[Question]:
    """Many questions of the train part about the named tasks, repetitions allowed."""
    rng = random.Random(seed)
    weights = [3.0 if name.startswith("describe") else 1.0 for name in names]
    return [ask(rng, world, rng.choices(names, weights)[0], False) for _ in range(count)]


def write_jsonl(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Writes records, one JSON object a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
