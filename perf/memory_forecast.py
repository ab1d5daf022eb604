"""The forecast of a training step's memory beside what it takes, on the CPU.

    python -m perf.memory_forecast                        (a random Llama of 38M parameters)
    python -m perf.memory_forecast --model FOLDER --groups 1 2 --kinds full LoRA
    python -m perf.memory_forecast --kinds full --keep        (freed memory is kept, as glibc does by itself)

Each case trains in a process of its own: load, then optimizer steps until the state is there and one more. Measured is
its largest resident set (VmHWM) less what it held before the load, when all was imported and a tiny model had trained.
Seconds are processor time of the last step.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from perf.loading_memory import peak, write_model
from tuna.data.batch import Group, PackedBatch
from tuna.data.packing import pack
from tuna.models.checkpointing import checkpoint_layers
from tuna.models.loading import load_scorer
from tuna.models.source import ModelConfig
from tuna.modules.optimizers import AdamW, Rates
from tuna.training.machine import give_back
from tuna.training.memory import estimate
from tuna.training.trainer import TrainerConfig

KINDS: dict[str, dict[str, Any]] = {
    "full": {},
    "full, tied": {"tied": True},  # of the random Llama
    "full, layers recomputed": {"checkpointing": True},
    "full, half of the layers": {"checkpointing": 0.5},
    "full, selective": {"checkpointing": "selective"},
    "LoRA": {"lora": 16},
    "LoRA, tied": {"lora": 16, "tied": True},
    "LoRA, layers recomputed": {"lora": 16, "checkpointing": True},
    "LoRA, bfloat16": {"lora": 16, "frozen_dtype": "bfloat16"},
}


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="Hugging Face folder, in place of a random model")
    parser.add_argument("--width", type=int, default=512, help="hidden size of the random Llama")
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--vocabulary", type=int, default=16_000)
    parser.add_argument("--groups", type=int, nargs="+", default=(1, 3), help="groups of about 450 tokens per pass")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--keep", action="store_true", help="without tuna.training.machine.give_back")
    parser.add_argument("--passes", type=int, default=2, help="per optimizer step")
    return parser.parse_args(arguments)


def make_batch(groups: int) -> PackedBatch:
    """Lists of four answers of 95 tokens to a prompt of 70."""
    draw = np.random.default_rng(0)
    ids = [[draw.integers(5, 900, size).astype(np.int32) for size in (70, 95, 95, 95, 95)] for _ in range(groups)]
    scores, targets = (3.0, 2.0, 1.0, 0.0), (True, False, False, False)
    made = [Group(str(n), first, tuple(rest), scores, targets) for n, (first, *rest) in enumerate(ids)]
    return pack(made, row_tokens=1024)


def settings(folder: str, kind: str) -> tuple[ModelConfig, TrainerConfig]:
    """The model and trainer of one case."""
    of = {key: value for key, value in KINDS[kind].items() if key != "tied"}
    training = TrainerConfig(accelerator="cpu", activation_checkpointing=of.pop("checkpointing", False))
    return ModelConfig(folder, **of), training


def train(folder: str, kind: str, groups: int, passes: int, steps: int = 2) -> float:
    """Load, and take a few steps; processor time of the last."""
    model, training = settings(folder, kind)
    scorer, batch = load_scorer(model), make_batch(groups)
    checkpoint_layers(scorer.model, training.activation_checkpointing)
    trained = [parameter for parameter in scorer.parameters() if parameter.requires_grad]
    optimizer = AdamW().build(trained, Rates(1e-5, 0.0, (0.9, 0.999), 1e-8))
    for _ in range(steps):
        began = time.process_time()
        optimizer.zero_grad()
        for _ in range(passes):
            scorer(batch).sum().backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
    return time.process_time() - began


def measure(folder: str, kind: str, groups: int, passes: int, keep: bool) -> None:
    """One process's part: print the forecast and what it took, in bytes."""
    torch.set_num_threads(1)
    if not keep:
        give_back()
    train("tiny", kind, 1, 1)
    start = peak(reset=True)
    seconds = train(folder, kind, groups, passes)
    took = peak() - start
    model, training = settings(folder, kind)
    found = estimate(model, training, AdamW(), make_batch(groups), several=passes > 1)
    print(json.dumps({"forecast": found.total, "measured": took, "seconds": seconds}))


def main(arguments: list[str] | None = None) -> None:
    """Print a row per case; exit with 1 where a forecast is more than a tenth from what was measured."""
    asked, worst = options(arguments), 0.0
    with tempfile.TemporaryDirectory() as scratch:
        sizes = {"width": asked.width, "layers": asked.layers, "vocabulary": asked.vocabulary}
        for tied in (False, True) if asked.model is None else ():
            write_model(Path(scratch) / str(tied), **sizes, tied=tied)
        print("| case | groups per pass | forecast MB | measured MB | ratio | s |\n|---|---|---|---|---|---|")
        for kind in asked.kinds:
            folder = asked.model or Path(scratch) / str("tied" in KINDS[kind])
            for groups in asked.groups:
                given = (str(folder), kind, groups, asked.passes, asked.keep)
                call = [sys.executable, "-c", f"from perf.memory_forecast import measure; measure(*{given!r})"]
                ran = subprocess.run(call, stdout=subprocess.PIPE, text=True, check=True)
                found = json.loads(ran.stdout.splitlines()[-1])
                ratio = found["forecast"] / found["measured"]
                worst = max(worst, abs(ratio - 1))
                shown = f"{found['forecast'] / 1e6:.0f} | {found['measured'] / 1e6:.0f}"
                print(f"| {kind} | {groups} | {shown} | {ratio:.2f} | {found['seconds']:.1f} |", flush=True)
    print(f"\nat most {worst:.0%} apart")
    raise SystemExit(worst > 0.1)


if __name__ == "__main__":
    main()
