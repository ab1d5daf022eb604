"""SIGKILL at any moment, resume=auto, the same bits. The real train.py in processes of its own."""

import os
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.training.kills import ROOT, finish, kill_when, steps_run
from tests.training.make import overrides
from tuna.runs import steps_in

pytestmark = pytest.mark.once


def same_weights(one: Path, other: Path) -> bool:
    first, second = (load_file(folder / "model" / "model.safetensors") for folder in (one, other))
    return first.keys() == second.keys() and all(bool((first[name] == second[name]).all()) for name in first)


def at_step(folder: Path, step: int) -> Callable[[], bool]:
    return lambda: f" step {step}/" in (folder / "log.txt").read_text() if (folder / "log.txt").exists() else False


def test_three_kills_end_with_the_same_bits(llama: Path, lists: Path, tmp_path: Path) -> None:
    every = 3
    finish(overrides(llama, lists, tmp_path / "whole", name="run"))
    args = overrides(llama, lists, tmp_path / "cut", name="run", resume="auto", trainer__checkpoint_every=every)
    cut = tmp_path / "cut" / "run"
    moments = [
        at_step(cut, 4),  # between two checkpoints
        lambda: (cut / "checkpoints" / "step-9.tmp").exists(),  # while one is written
        lambda: (cut / "model.tmp").exists() or (cut / "model").exists(),  # while the model is exported
    ]
    killed = sum(kill_when(args, moment) for moment in moments)
    assert killed >= 2  # the export is short: the last kill may come too late
    if killed == 3:
        output = finish(args)
        assert "resumed at step" in output
    assert same_weights(cut, tmp_path / "whole" / "run")
    assert steps_run(cut) - 12 <= every * killed


def _is_due(folder: Path, steps: int, moment: float) -> bool:
    """The run has logged so many steps, a random moment has passed besides."""
    return time.monotonic() >= moment and steps_run(folder) >= steps


@pytest.mark.campaign
def test_campaign_of_twenty_kills(llama: Path, lists: Path, tmp_path: Path) -> None:
    """Kills at random moments of a run; writes docs/campaigns/train_kills.md. Run by ``make campaign``."""
    kills, every = 20, 10
    rng = random.Random(0)
    changes = {"trainer__max_epochs": 150, "trainer__checkpoint_every": every}
    begin = time.monotonic()
    probe = overrides(llama, lists, tmp_path / "probe", name="run", **changes)
    assert kill_when(probe, lambda: steps_run(tmp_path / "probe" / "run") > 0)
    startup = time.monotonic() - begin
    finish(overrides(llama, lists, tmp_path / "whole", name="run", **changes))
    args = overrides(llama, lists, tmp_path / "cut", name="run", resume="auto", **changes)
    cut = tmp_path / "cut" / "run"
    total, rows, done = 600, [], 0
    for number in range(1, kills + 1):
        before, moment = steps_run(cut), time.monotonic() + rng.uniform(0.0, 1.2) * startup
        # Every fourth kill comes at any time, also before the first step; the others after some steps.
        steps = 0 if number % 4 == 0 else before + rng.randint(1, 2 * total // (kills + 4))
        killed = kill_when(args, partial(_is_due, cut, steps, moment))
        checkpoints = [step for step, _ in steps_in(cut / "checkpoints")]
        reached = before and steps_run(cut) - before
        rows.append(
            f"| {number} | {'yes' if killed else 'finished first'} | {reached} | {max(checkpoints, default=0)} |"
        )
        done += killed
        if not killed:
            break
    finish(args) if killed else None
    redone = steps_run(cut) - total
    equal = same_weights(cut, tmp_path / "whole" / "run")
    commit = os.popen(f"git -C {ROOT} rev-parse --short HEAD").read().strip()
    table = "\n".join(rows)
    (ROOT / "docs" / "campaigns").mkdir(exist_ok=True)
    (ROOT / "docs" / "campaigns" / "train_kills.md").write_text(
        f"# train.py: {done} kills at random moments\n\n"
        f"`make campaign`, commit {commit}, {datetime.now(UTC):%Y-%m-%d}.\n\n"
        f"A run of {total} steps, checkpoint_every={every}, killed by SIGKILL and resumed with resume=auto.\n\n"
        f"- final weights equal an uninterrupted run's, bit for bit: {equal}\n"
        f"- steps redone: {redone} over {done} kills, at most {every} allowed a kill\n\n"
        f"| kill | killed | steps run by it | newest checkpoint |\n|---|---|---|---|\n{table}\n"
    )
    assert equal and done == kills and redone <= every * done
