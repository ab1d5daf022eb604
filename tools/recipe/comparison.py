"""The questions of the comparison of losses: three parts that share no argument, and no described thing."""

from __future__ import annotations

import random
import zlib
from collections.abc import Mapping
from operator import attrgetter
from typing import Any

from tools.recipe.instructions import ASKED_TASKS
from tools.recipe.questions import TASKS, Question, distinct
from tools.recipe.world import World

TWELFTHS = {"lists": range(4), "choice": range(4, 6), "measure": range(6, 12)}
"""Which arguments each part has, by a hash of task and argument: the lists to tune on, the questions that settings
are chosen by, the questions that the chosen ones are measured on."""

_TRIES = 400  # draws per question that is wanted: small tasks have few arguments


def make_parts(world: World, seed: int, counts: Mapping[str, tuple[int, int]]) -> dict[str, list[dict[str, Any]]]:
    """Each part: up to so many questions of each checkable task and so many descriptions, one per argument, shuffled.

    A checkable question of `lists` is of the train part, one of the others of the held-out part; a description may be
    of either, since it is not the thing but how fully it is told that the lists teach. In `lists` a description has
    up to three wordings.
    """
    rng = random.Random(seed)
    parts: dict[str, list[dict[str, Any]]] = {}
    for part, (per_task, described) in counts.items():
        questions: list[Question] = []
        for name in ASKED_TASKS:
            open_ended = name.startswith("describe")
            wanted = described if open_ended else per_task
            draws = (TASKS[name](rng, world) for _ in range(_TRIES * wanted))
            fitting = (
                question
                for question in draws
                if _twelfth(question) in TWELFTHS[part] and (open_ended or question.held_out == (part != "lists"))
            )
            differ = "instruction" if open_ended and part == "lists" else "key"
            questions += distinct(fitting, wanted, attrgetter(differ))
        rng.shuffle(questions)
        parts[part] = [question.record(f"{part}-{number:05d}") for number, question in enumerate(questions)]
    return parts


def _twelfth(question: Question) -> int:
    return zlib.crc32(f"comparison|{question.task}|{question.key}".encode()) % 12
