"""trainer=fsdp on two CPU processes: the single-process trajectory and weights; kill, resume, export."""

import csv
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training.kills import finish, kill_when
from tests.training.make import overrides
from tuna.config.compose import compose
from tuna.training.run import run

pytestmark = pytest.mark.once

SHARDED = {
    "trainer": "fsdp", "trainer__accelerator": "cpu", "trainer__devices": 2, "trainer__precision": "32-true",
    "trainer__checkpoint_every": 3,
}  # fmt: skip


def losses(folder: Path, column: str = "train/loss") -> list[float]:
    with (folder / "metrics.csv").open(newline="") as file:
        return [float(row[column]) for row in csv.DictReader(file) if row.get(column)]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "model.safetensors")


def farthest(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    return max((one[name] - other[name]).abs().max().item() for name in one)


def test_two_processes_trace_the_single_process_run(llama: Path, lists: Path, tmp_path: Path) -> None:
    run(compose(overrides(llama, lists, tmp_path, name="single")))
    metrics = run(compose(overrides(llama, lists, tmp_path, name="sharded", **SHARDED)))
    single, sharded = tmp_path / "single", tmp_path / "sharded"
    assert losses(sharded) == pytest.approx(losses(single), rel=1e-5)
    assert losses(sharded, "train/grad_norm") == pytest.approx(losses(single, "train/grad_norm"), rel=1e-4)
    assert farthest(weights(sharded), weights(single)) <= 1e-5
    assert metrics["val/loss"] == pytest.approx(losses(single, "val/loss")[-1], rel=1e-5)
    # Killed between checkpoints, with another process left behind, and resumed: as if nothing had been.
    cut = tmp_path / "cut"
    args = overrides(llama, lists, cut, name="run", resume="auto", **SHARDED)
    assert kill_when(args, lambda: (cut / "run" / "checkpoints" / "step-6").exists())
    assert "resumed at step" in finish(args)
    assert farthest(weights(cut / "run"), weights(sharded)) <= 1e-6
