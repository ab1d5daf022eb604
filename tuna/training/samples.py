"""samples.jsonl of a run: held-out instructions with the answers of the starting model and of the tuned one."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tuna.data.files import write_jsonl
from tuna.data.messages import transcript
from tuna.runs import RunFolder

log = logging.getLogger("tuna")
MAX_NEW_TOKENS = 64
_SHOWN = 2000  # letters of a text in a table


def write(target: RunFolder, records: Sequence[Mapping[str, Any]], before: Sequence[str], after: Sequence[str]) -> None:
    """One JSON object a line: id, instruction, input, before, after, and the task where the record has one."""
    kept = ("id", "task", "instruction", "input")
    rows = (
        {**{key: str(record.get(key) or "") for key in kept}, "before": was, "after": now}
        for record, was, now in zip(records, before, after, strict=True)
    )
    write_jsonl(target.path / "samples.jsonl", rows)


def read(target: RunFolder) -> list[dict[str, str]]:
    """The rows of samples.jsonl, none where there is no file."""
    path = target.path / "samples.jsonl"
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def table(target: RunFolder, count: int) -> list[dict[str, str]]:
    """``count`` of the rows, evenly spread over the file; long texts cut."""
    rows = read(target)
    count = min(count, len(rows))
    chosen = [rows[index * len(rows) // count] for index in range(count)]
    return [{key: text[:_SHOWN] for key, text in row.items()} for row in chosen]


def generate(parts: Any, target: RunFolder, count: int) -> None:
    """Have both models answer the first ``count`` held-out instructions that fit, greedily, and write samples.jsonl."""
    from tuna.data.encode import Encoder

    settings = parts.data
    encoder = Encoder(parts.tokenizer, settings.template, settings.template_args)
    room = (parts.resolved.max_positions or 10**9) - MAX_NEW_TOKENS
    records: list[dict[str, str]] = []
    prompts: list[list[int]] = []
    for record in parts.data.val_records:
        if len(records) == count:
            break
        prompt = encoder.prompt(record).tolist()
        if len(prompt) <= room:
            said = transcript(record.messages) if record.messages else record.instruction
            records.append({"id": record.id, "instruction": said, "input": record.input})
            prompts.append(prompt)
    if prompts:
        before, after = (
            _answers(folder, parts, prompts, encoder) for folder in (parts.resolved.weights_folder, target.model)
        )
        write(target, records, before, after)


def _answers(folder: Path, parts: Any, prompts: list[list[int]], encoder: Any) -> list[str]:
    import torch
    from transformers import AutoModelForCausalLM

    from tuna.inference.generate import greedy_answers
    from tuna.models.loading import grow

    trust = parts.model.trust_remote_code
    on_gpu = parts.training.on_gpu
    dtype = torch.bfloat16 if on_gpu else torch.float32
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, trust_remote_code=trust)
    grow(model, parts.model.rows)
    model = model.eval().to("cuda" if on_gpu else "cpu")
    return greedy_answers(model, encoder, prompts, batch_size=8, max_tokens=MAX_NEW_TOKENS)
