"""What the reference pass costs: its seconds over those of one training epoch on the same lists, and again in a second
run, which finds all stored.

    python -m perf.reference_pass [WORDS ...]

WORDS: of train.py, by default ``stage=tuna_c loss=dpo``; all lists are trained on, none is held out. Each round is a
run of one epoch in a new folder: the pass is timed from its start to what it gives, the weights' loading and the store
included; the epoch from its start to the end of its last step, without checkpoints; the second pass as the first. The
median of three rounds is told; on the CPU its own seconds are counted, whatever else the machine does. The values are
compared with those of transformers' own forward pass, one answer at a time, on eight lists. The goal is at most 0.45,
and nothing scored by the second run.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from transformers import AutoModelForCausalLM

from tuna.config.compose import compose
from tuna.config.schema import build_all
from tuna.training import reference
from tuna.training.run import NODES, Components, prepare, run

ROUNDS, COMPARED, GOAL = 3, 8, 0.45
FIXED = (
    "datamodule.val_path=null", "datamodule.held_out=0", "trainer.max_epochs=1", "trainer.validate_every=null",
    "trainer.checkpoint_every=1000000", "logger=csv", "evaluate=false",
)  # fmt: skip
ATTACH, FIT = reference.attach, pl.Trainer.fit
seconds = time.perf_counter if torch.cuda.is_available() else time.process_time


class Clock(Callback):
    """Seconds from an epoch's start to the end of its last step."""

    spent = 0.0

    def on_train_epoch_start(self, *_: Any) -> None:
        """Begin."""
        self.began = seconds()

    def on_train_batch_end(self, *_: Any) -> None:
        """The last call stands."""
        self.spent = seconds() - self.began


def one_round(words: list[str], folder: str) -> tuple[float, float, float, Components]:
    """Seconds of the pass, of the epoch and of the pass of a second run; what the first run was made of."""
    clock, passes, made = Clock(), [], []

    def attach(parts: Components) -> None:
        began = seconds()
        ATTACH(parts)
        passes.append(seconds() - began)
        made.append(parts)

    def fit(trainer: Any, *args: Any, **named: Any) -> None:
        trainer.callbacks.insert(0, clock)
        FIT(trainer, *args, **named)

    cfg = compose([*words, *FIXED, f"runs_dir={folder}", f"datamodule.cache_dir={folder}/cache"])
    with mock.patch("tuna.training.fit.attach", attach), mock.patch.object(pl.Trainer, "fit", fit):
        run(cfg)
    with mock.patch.object(reference, "_score", side_effect=AssertionError("the second run scored again")):
        attach(prepare(cfg, build_all(cfg, *NODES)))
    first, second = ([group.reference for group in parts.data.train_groups] for parts in made)
    assert first == second
    return passes[0], clock.spent, passes[1], made[0]


def farthest(parts: Components) -> float:
    """The largest difference, in nats per answer, from transformers' own forward pass on the first lists."""
    folder: Any = parts.resolved.weights_folder
    model = AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float32).eval()
    far = 0.0
    for group in parts.data.train_groups[:COMPARED]:
        for response, scored, given in zip(group.responses, group.masks, group.reference, strict=True):
            ids = torch.from_numpy(np.concatenate([group.prompt, response])).long()[None]
            with torch.no_grad():
                logs = model(ids).logits.double().log_softmax(-1)[0, len(group.prompt) - 1 : -1]
            found = logs.gather(1, ids[0, len(group.prompt) :, None])[torch.from_numpy(scored), 0].sum().item()
            far = max(far, abs(found - given))
    return far


def main(argv: list[str]) -> int:
    """Measure; the exit code is 0 where the goal is met."""
    words, ratios, rows = argv or ["stage=tuna_c", "loss=dpo"], [], []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            scored, epoch, again, parts = one_round(words, folder)
            far = farthest(parts)
        ratios.append(scored / epoch)
        rows.append(f"| {scored:.2f} | {epoch:.2f} | {ratios[-1]:.2f} | {again:.2f} |")
        print(f"\n{len(parts.data.train_groups)} lists of {Path(parts.resolved.source).name}, seconds:")
        print("| pass | epoch | pass / epoch | second pass |\n|---|---|---|---|", *rows, sep="\n", flush=True)
    ratio = statistics.median(ratios)
    print(f"median {ratio:.2f} of an epoch (goal: at most {GOAL}); from transformers' values {far:.1e} nats at most")
    return 0 if ratio <= GOAL and far < 1e-2 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
