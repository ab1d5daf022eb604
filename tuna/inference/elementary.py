"""The elementary benchmark: held-out questions about a little world, marked by a checker, no judge needed. Checkable
ones are right or wrong; open-ended ones get a mark from 0 to 1 that grows with the number of true details.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from tuna import assets
from tuna.assets.checker import is_checkable, mark
from tuna.data import record as data
from tuna.data.templates import template_named

Record = Mapping[str, Any]


@dataclass(frozen=True)
class ElementaryResult:
    """What a model reached."""

    accuracy: float  # share of the checkable questions that were answered right, from 0 to 1; 0 where there are none
    by_task: dict[str, tuple[int, int]]  # right answers and questions of each checkable task
    open_ended: float  # mean mark of the open-ended questions, from 0 to 1; 0 where there are none
    num_checkable: int
    num_open_ended: int
    answers: tuple[str, ...]  # in the order of the records


def held_out_records() -> list[dict[str, Any]]:
    """The embedded held-out instructions, none of them in the training part.

    >>> sorted(held_out_records()[0])
    ['answers', 'check', 'id', 'input', 'instruction', 'output', 'task']
    """
    lines = assets.path("instructions/held_out.jsonl").read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines if line]


def prompt_of(record: Record, tokenizer: PreTrainedTokenizerBase) -> str:
    """The prompt of a record in the tokenizer's chat template."""
    return template_named("chat", tokenizer)(record_of(record)).text


def record_of(record: Record) -> data.Record:
    """The question as prompts are made of it."""
    return data.Record(str(record.get("id", "")), str(record["instruction"]), str(record.get("input") or ""))


def marked(records: Sequence[Record], answers: Sequence[str]) -> ElementaryResult:
    """Marks one answer per record."""
    right: dict[str, list[bool]] = defaultdict(list)
    open_marks: list[float] = []
    for record, answer in zip(records, answers, strict=True):
        points = mark(record, answer)
        if is_checkable(record):
            right[str(record["task"])].append(points == 1.0)
        else:
            open_marks.append(points)
    checkable = sum(map(len, right.values()))
    return ElementaryResult(
        accuracy=sum(map(sum, right.values())) / max(1, checkable),
        by_task={task: (sum(of_task), len(of_task)) for task, of_task in sorted(right.items())},
        open_ended=sum(open_marks) / max(1, len(open_marks)),
        num_checkable=checkable,
        num_open_ended=len(open_marks),
        answers=tuple(answers),
    )
