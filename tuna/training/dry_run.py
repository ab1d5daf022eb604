"""``train.py dry_run=true``: what a run would do and take, said after its checks and before any weight is read."""

import shutil
import time
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import torch

from tuna import runs
from tuna.console import clock_time
from tuna.data.batch import Group
from tuna.errors import RunError
from tuna.preview import quoted
from tuna.runs import RunFolder
from tuna.training.log import first_lines
from tuna.training.memory import SMALL
from tuna.training.run import Components

SHOWN = 2  # lists


def lines(parts: Components, target: RunFolder) -> Iterator[str]:
    """What is printed, in the order in which it is found out."""
    yield from first_lines(parts, target, max((step for step, _ in runs.steps_in(target.checkpoints)), default=0))
    yield ""
    yield "what is trained on, of the first lists, as the model sees it"
    for record, group in list(zip(parts.data.train_records, parts.data.train_groups, strict=True))[:SHOWN]:
        yield from _group_lines(record.where, group, parts)
    yield ""
    yield from _steps(parts)
    yield from _disk(parts)
    yield from _memory(parts)
    yield f"time    {_time(parts)}"
    yield ""
    yield f"dry run: no run was begun, no weight loaded; {_left(parts)}; the same command without dry_run=true starts"


def _left(parts: Components) -> str:
    """What stays of a dry run, so that the run itself is faster."""
    cache = str(parts.data.cache_path("x").parent)
    hub = f", and the files of {parts.resolved.source} (its weights too) in the hub's cache"
    return f"what stays are token ids in {cache}{hub if parts.resolved.on_hub else ''}"


def _group_lines(where: str, group: Group, parts: Components) -> Iterator[str]:
    tokenizer, ranks = parts.tokenizer, parts.data.ranked
    yield f"  {where}: prompt, {len(group.prompt)} tokens, none trained on"
    yield from quoted(tokenizer.decode(group.prompt))
    answers = zip(group.responses, group.masks, group.scores, group.targets, strict=True)
    for number, (ids, mask, score, target) in enumerate(answers, start=1):
        ranked = f", score {score:g}" if score == score else ", not ranked" * ranks
        aim = ", target of the cross-entropy" * target
        yield f"  answer {number}{ranked}{aim}: {len(ids)} tokens, {int(mask.sum())} trained on"
        yield from quoted(tokenizer.decode(ids))
        for scored, run in groupby(zip(mask.tolist(), ids.tolist(), strict=True), key=itemgetter(0)):
            if not scored:
                yield f"    not trained on: {tokenizer.decode([token for _, token in run])!r}"


def _steps(parts: Components) -> Iterator[str]:
    data, training = parts.data, parts.training
    held_back = ", which trainer.max_steps cuts short" if parts.total_steps < data.total_steps else ""
    most = "" if training.accumulate else f" of up to {training.micro_budget:,} tokens or one list"
    yield (
        f"steps   {parts.total_steps} optimizer steps: epochs {training.max_epochs} x {data.steps_per_epoch}{held_back}"
        f"; {len(data.train_groups)} groups, up to {data.batch_size} per step; micro-steps per step {data.accumulate}"
        f"{most}"
    )
    prompts, answers, scored = _counts(data.train_groups)
    yield (
        f"tokens  {prompts + answers:,} per epoch: {prompts:,} of prompts (once per list), {answers:,} of answers, of "
        f"which {scored:,} are trained on; longest list {max(g.num_tokens for g in data.train_groups):,}"
    )


def _counts(groups: list[Group]) -> tuple[int, int, int]:
    """Tokens of prompts and of answers, and those of answers that the model writes."""
    prompts = sum(len(group.prompt) for group in groups)
    return prompts, sum(g.num_tokens for g in groups) - prompts, sum(sum(g.lengths) for g in groups)


def _disk(parts: Components) -> Iterator[str]:
    keep, place = parts.training.kept, runs.check_writable(Path(parts.cfg.runs_dir))
    checkpoint, model = runs.space(parts.num_parameters, parts.num_trainable)
    yield (
        f"disk    {keep} checkpoints of {checkpoint / 1e9:.2f} GB and one while it is written, model up to "
        f"{model / 1e9:.2f} GB; {shutil.disk_usage(place).free / 1e9:.1f} GB are free at {place}"
    )


def _memory(parts: Components) -> Iterator[str]:
    """Nothing where the first lines have told the forecast, or why there is none."""
    if parts.memory is None and parts.num_parameters < SMALL:
        yield f"memory  little: a model of fewer than {SMALL / 1e6:.0f}M parameters has no forecast"


def _time(parts: Components) -> str:
    """By an earlier run of the same model on this machine, else at least what the multiplications take."""
    prompts, answers, _ = _counts(parts.data.train_groups)
    share = parts.total_steps / parts.data.steps_per_epoch
    if found := _measured(parts):
        speed, name = found
        seconds = share * (prompts + answers) / speed
        return f"about {clock_time(seconds)} of training steps, at the {speed:,.0f} tokens/s of {name}"
    if parts.training.on_gpu:
        return "not known: no run of this model with these settings is in runs_dir; debug=short tries two steps"
    floor = _multiplications(parts, share) / _speed()
    return (
        f"at least {clock_time(floor)}, which is what the multiplications take at this machine's speed just now; "
        "debug=short tries two steps"
    )


def _measured(parts: Components) -> tuple[float, str] | None:
    """Tokens per second of the newest finished run of this starting model and trainer, and its folder."""
    same = ("model", "trainer")
    found = []
    for file in Path(parts.cfg.runs_dir).glob("**/run.json"):
        try:
            written = runs.read_run(file.parent)
        except RunError:
            continue
        config, speed = written.get("config", {}), written.get("metrics", {}).get("perf/tokens_per_second")
        alike = all(config.get(node) == parts.config[node] for node in same)
        if speed and alike and written.get("parents", {}).get("model_fingerprint") == parts.resolved.fingerprint:
            found.append((str(written.get("ended")), float(speed), str(file.parent)))
    return max(found)[1:] if found else None


def _multiplications(parts: Components, epochs: float) -> float:
    """Floating-point operations: 2 per weight and token forward, 4 backward; the head only where tokens are scored."""
    text = parts.resolved.config.get_text_config()
    head = int(text.vocab_size * text.hidden_size)
    body = parts.num_parameters - head * (1 if getattr(text, "tie_word_embeddings", False) else 2)
    backward = 4 if parts.model.lora is None else 2  # frozen weights get no gradient of their own

    def passes(groups: list[Group], times: float) -> float:
        prompts, answers, scored = _counts(groups)
        return times * (max(0, body) * (prompts + answers) + head * scored)

    return passes(parts.data.train_groups, epochs * (2 + backward)) + passes(parts.data.val_groups, 2 * 2)


def _speed() -> float:
    """Floating-point operations per second of a product of matrices on this CPU."""
    matrix = torch.ones(512, 512)
    matrix @ matrix
    begin, count = time.perf_counter(), 0
    while (spent := time.perf_counter() - begin) < 0.2:
        matrix @ matrix
        count += 1
    return count * 2 * 512**3 / spent
