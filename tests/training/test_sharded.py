"""trainer=fsdp on two CPU processes: the single-process trajectory and weights; kill, resume, export."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests import warm
from tests.training.kills import ROOT, finish, kill_when
from tests.training.make import overrides
from tests.training.poison import BAD, nan_loss, one_bad
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


@pytest.mark.usefixtures("forks")
def test_two_processes_killed_and_resumed_trace_the_single_process_run(
    llama: Path, lists: Path, tmp_path: Path
) -> None:
    """Killed between checkpoints, with another process left behind: as if nothing had been."""
    run(compose(overrides(llama, lists, tmp_path, name="single")))
    single, sharded = tmp_path / "single", tmp_path / "sharded"
    args = overrides(llama, lists, tmp_path, name="sharded", resume="auto", **SHARDED)
    assert kill_when(args, lambda: (sharded / "checkpoints" / "step-6").exists())
    shutil.copytree(sharded, fewer := tmp_path / "fewer" / "sharded")
    assert "resumed at step" in finish(args)
    assert losses(sharded) == pytest.approx(losses(single), rel=1e-5)
    assert losses(sharded, "train/grad_norm") == pytest.approx(losses(single, "train/grad_norm"), rel=1e-4)
    assert losses(sharded, "val/loss")[-1] == pytest.approx(losses(single, "val/loss")[-1], rel=1e-5)
    assert farthest(weights(sharded), weights(single)) <= 1e-5
    # Taken up by one process: what two began.
    alone = {**SHARDED, "trainer__devices": 1}
    run(compose(overrides(llama, lists, fewer.parent, name="sharded", resume="auto", **alone)))
    assert "resumed at step" in (fewer / "log.txt").read_text()
    assert farthest(weights(fewer), weights(single)) <= 1e-5


def test_a_copy_per_machine(llama: Path, lists: Path, tmp_path: Path) -> None:
    """trainer.shard_over=node: two machines of two processes each; half a copy per process, the same trajectory."""
    short = {"trainer__max_epochs": 1}
    run(compose(overrides(llama, lists, tmp_path, name="single", **short)))
    changes = {**SHARDED, **short, "trainer__num_nodes": 2, "trainer__shard_over": "node"}
    warm.several(ROOT / "train.py", overrides(llama, lists, tmp_path, name="copies", **changes), (2, 2))
    single, copies = tmp_path / "single", tmp_path / "copies"
    assert losses(copies) == pytest.approx(losses(single), rel=1e-5)
    assert losses(copies, "train/grad_norm") == pytest.approx(losses(single, "train/grad_norm"), rel=1e-4)
    assert farthest(weights(copies), weights(single)) <= 1e-5


@pytest.mark.usefixtures("forks")
def test_both_processes_leave_a_step_out_that_one_of_them_cannot_count(tmp_path: Path) -> None:
    """The bad record is one process's; the other one has finite numbers only."""
    model, lists = nan_loss(tmp_path / "model"), one_bad(tmp_path / "lists.jsonl")
    # GPT-2's key biases have no gradient but rounding, of which Adam makes whole steps where eps is small.
    changes = {"datamodule__held_out": 0, "trainer__max_epochs": 1, "trainer__nonfinite": "skip", "module__eps": 1e-3}
    run(compose(overrides(model, lists, tmp_path, name="single", **changes)))
    run(compose(overrides(model, lists, tmp_path, name="sharded", **{**SHARDED, **changes})))
    single, sharded = tmp_path / "single", tmp_path / "sharded"
    left_out = [json.loads((folder / "run.json").read_text())["skipped_steps"] for folder in (single, sharded)]
    assert len(left_out[0]) == 1 and left_out[0] == left_out[1]
    told = [line for line in (sharded / "log.txt").read_text().splitlines() if "; skipped, 1 of at most 1" in line]
    assert len(told) == 1 and f"lists.jsonl:{BAD + 1} (id {BAD})" in told[0] and told[0].count("(id ") == 1
    assert farthest(weights(sharded), weights(single)) <= 1e-5
