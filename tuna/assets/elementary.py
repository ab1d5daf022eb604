"""The elementary benchmark: held-out questions about a little world, marked by a checker, no judge needed.

Greedy answers to the questions of `tuna/assets/instructions/held_out.jsonl`. Checkable questions are right or wrong;
open-ended ones get a mark from 0 to 1 that grows with the number of true details.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tuna import assets
from tuna.assets.checker import is_checkable, mark
from tuna.data import record as data
from tuna.data.encode import Encoder
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
    return template_named(template, tokenizer)(_asked(record)).text


def _asked(record: Record) -> data.Record:
    return data.Record(str(record.get("id", "")), str(record["instruction"]), str(record.get("input") or ""))


@torch.inference_mode()
def greedy_answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str] | Sequence[Sequence[int]],
    *,
    batch_size: int = 64,
    max_new_tokens: int = 48,
    ends: Iterable[int] = (),
) -> list[str]:
    """Greedy continuations of prompts (texts or ids), batched by length, padded on the left.

    An answer ends at the end-of-sequence token or one of ``ends``. Padding and the model's mode are as before when it
    returns.
    """
    ids = [
        tokenizer(prompt, add_special_tokens=False)["input_ids"] if isinstance(prompt, str) else list(map(int, prompt))
        for prompt in prompts
    ]
    order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
    texts = [""] * len(ids)
    training = model.training
    model.train(False)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        width = max(len(ids[index]) for index in chosen)
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        rows = [[pad] * (width - len(ids[index])) + list(ids[index]) for index in chosen]
        mask = [[0] * (width - len(ids[index])) + [1] * len(ids[index]) for index in chosen]
        out: Tensor = model.generate(  # type: ignore[operator]
            input_ids=torch.tensor(rows, device=model.device),
            attention_mask=torch.tensor(mask, device=model.device),
            max_new_tokens=max_new_tokens,
            do_sample=False,
            pad_token_id=pad,
            eos_token_id=sorted({int(tokenizer.eos_token_id), *ends}),
        )
        decoded = tokenizer.batch_decode(out[:, width:], skip_special_tokens=True)
        for index, text in zip(chosen, decoded, strict=True):
            texts[index] = text.strip()
    model.train(training)
    return texts


def evaluate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    records: Sequence[Record],
    *,
    batch_size: int = 64,
    max_new_tokens: int = 48,
    template: str = "chat",
) -> ElementaryResult:
    """Answers the records greedily and marks the answers.

    Args:
        model: any causal language model that generates.
        tokenizer: its tokenizer, with a chat template where `template` is ``chat``.
        records: questions with ``check`` and ``answers``, such as `held_out_records()`.
        batch_size: questions answered at once.
        max_new_tokens: tokens after which an answer is cut.
        template: ``chat`` for the tokenizer's chat template, ``none`` for the bare question.

    Raises:
        ValueError: an unknown template.
    """
    encoder = Encoder(tokenizer, template)
    prompts = [encoder.prompt(_asked(record)).tolist() for record in records]
    answers = greedy_answers(
        model, tokenizer, prompts, batch_size=batch_size, max_new_tokens=max_new_tokens, ends=encoder.ends
    )
    return marked(records, answers)


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
