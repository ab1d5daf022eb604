"""Answers of the starting model and of the tuned one: the embedded tasks' accuracy, and samples.jsonl."""

import json
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM, AutoTokenizer

from tuna.data.encode import Encoder
from tuna.data.files import write_jsonl
from tuna.data.messages import transcript
from tuna.inference.elementary import ElementaryResult, held_out_records
from tuna.inference.generate import greedy_answers, measure_elementary
from tuna.models.loading import grow
from tuna.runs import RunFolder
from tuna.training.run import Components

MAX_NEW_TOKENS = 64
_NAME = "samples.jsonl"
_SHOWN = 2000  # letters of a text in a table


def measure_tasks(parts: Components, target: RunFolder) -> tuple[ElementaryResult, ElementaryResult]:
    """Greedy accuracy on the held-out embedded tasks: the starting model's, then the exported folder's."""

    def measure(folder: Path) -> ElementaryResult:
        model, tokenizer = _load(folder, parts, "float32")
        template = "chat" if getattr(tokenizer, "chat_template", None) else parts.template
        return measure_elementary(model, tokenizer, records, template=template)

    records = held_out_records()
    before, after = measure(parts.resolved.weights_folder), measure(target.model)
    write(target, records, before.answers, after.answers)
    return before, after


def generate(parts: Components, target: RunFolder, count: int) -> None:
    """Have both models answer the first ``count`` held-out instructions that fit, greedily, and write samples.jsonl."""
    on_gpu = parts.training.on_gpu
    encoder = Encoder(parts.tokenizer, parts.data.template, parts.data.template_args)
    room = (parts.resolved.max_positions or 10**9) - MAX_NEW_TOKENS
    asked = ((record, encoder.prompt(record).tolist()) for record in parts.data.val_records)
    chosen = list(islice((pair for pair in asked if len(pair[1]) <= room), count))
    prompts = [prompt for _, prompt in chosen]
    records = [
        {"id": r.id, "instruction": transcript(r.messages) if r.messages else r.instruction, "input": r.input}
        for r, _ in chosen
    ]

    def answer(folder: Path) -> list[str]:
        model, _ = _load(folder, parts, "bfloat16" if on_gpu else "float32")
        model = model.to("cuda" if on_gpu else "cpu")
        return greedy_answers(model, encoder, prompts, batch_size=8, max_tokens=MAX_NEW_TOKENS)

    if prompts:
        write(target, records, answer(parts.resolved.weights_folder), answer(target.model))


def _load(folder: Path, parts: Components, dtype: str) -> tuple[Any, Any]:
    trust = parts.model.trust_remote_code
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, trust_remote_code=trust)
    grow(model, parts.model.rows)
    return model.eval(), AutoTokenizer.from_pretrained(folder, trust_remote_code=trust)


def write(target: RunFolder, records: Sequence[Mapping[str, Any]], before: Sequence[str], after: Sequence[str]) -> None:
    """One JSON object per line: id, task where the record has one, instruction, input, before, after."""
    kept = ("id", "task", "instruction", "input")
    rows = (
        {**{key: str(record.get(key) or "") for key in kept}, "before": was, "after": now}
        for record, was, now in zip(records, before, after, strict=True)
    )
    write_jsonl(target.path / _NAME, rows)


def table(parts: Components, target: RunFolder) -> list[dict[str, str]]:
    """``logger.samples`` rows of samples.jsonl, evenly spread, long texts cut; made now where there are none yet."""
    count, path = parts.loggers.samples if parts.module.answers else 0, target.path / _NAME
    if count and not path.exists():
        generate(parts, target, count)
    if not count or not path.exists():
        return []
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    count = min(count, len(rows))
    chosen = [rows[index * len(rows) // count] for index in range(count)]
    return [{key: text[:_SHOWN] for key, text in row.items()} for row in chosen]
