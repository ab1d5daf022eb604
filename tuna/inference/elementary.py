"""The elementary benchmark: held-out questions about a little world, marked by a checker, no judge needed.

The questions are those of `tuna/assets/instructions/held_out.jsonl`; tuna.inference.generate has a model answer them.
Checkable questions are right or wrong; open-ended ones get a mark from 0 to 1 that grows with the number of true
details.
"""

from __future__ import annotations

import json
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
    """What a model reached.

    Attributes:
        accuracy: the share of the checkable questions that were answered right, from 0 to 1; 0 where there are none.
        by_task: right answers and questions of each checkable task.
        open_ended: the mean mark of the open-ended questions, from 0 to 1; 0 where there are none.
        num_checkable: how many questions were checkable.
        num_open_ended: how many questions were open-ended.
        answers: the text given to each record, in the order of the records.
    """

    accuracy: float
    by_task: dict[str, tuple[int, int]]
    open_ended: float
    num_checkable: int
    num_open_ended: int
    answers: tuple[str, ...]


def _read(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in assets.path(name).read_text(encoding="utf-8").split("\n") if line]


def train_records() -> list[dict[str, Any]]:
    """The embedded training instructions.

    >>> sorted(train_records()[0])
    ['answers', 'check', 'id', 'input', 'instruction', 'output', 'task']
    """
    return _read("instructions/train.jsonl")


def held_out_records() -> list[dict[str, Any]]:
    """The embedded held-out instructions, none of them in the training part.

    >>> {record["id"] for record in held_out_records()} & {record["id"] for record in train_records()}
    set()
    """
    return _read("instructions/held_out.jsonl")


def prompt_of(record: Record, tokenizer: PreTrainedTokenizerBase, template: str = "chat") -> str:
    """The prompt of a record, as training makes it (tuna.data.templates).

    Raises:
        ConfigError: the template is unknown.
    """
    return template_named(template, tokenizer)(record_of(record)).text


def record_of(record: Record) -> data.Record:
    """The question as prompts are made of it."""
    return data.Record(str(record.get("id", "")), str(record["instruction"]), str(record.get("input") or ""))


def marked(records: Sequence[Record], answers: Sequence[str]) -> ElementaryResult:
    """Marks one answer a record."""
    by_task: dict[str, tuple[int, int]] = {}
    open_marks: list[float] = []
    for record, answer in zip(records, answers, strict=True):
        points = mark(record, answer)
        if is_checkable(record):
            right, total = by_task.get(str(record["task"]), (0, 0))
            by_task[str(record["task"])] = (right + int(points == 1.0), total + 1)
        else:
            open_marks.append(points)
    checkable = sum(total for _, total in by_task.values())
    return ElementaryResult(
        accuracy=sum(right for right, _ in by_task.values()) / max(1, checkable),
        by_task=dict(sorted(by_task.items())),
        open_ended=sum(open_marks) / max(1, len(open_marks)),
        num_checkable=checkable,
        num_open_ended=len(open_marks),
        answers=tuple(answers),
    )
