"""The fault campaign: a sample of each kind here, all of it by ``make campaign``."""

import os
from pathlib import Path

import pytest

from perf.faults.__main__ import main
from perf.faults.base import ROOT, Bench, Trial, perform
from perf.faults.trials import every_trial

TRIALS = every_trial()


@pytest.mark.once
@pytest.mark.parametrize("trial", [t for t in TRIALS if t.sample], ids=lambda t: f"{t.kind}: {t.name}")
def test_sample(trial: Trial, tmp_path: Path) -> None:
    assert perform(trial, tmp_path / "trial").broken == ()


def test_every_kind_has_a_sample() -> None:
    slow = {
        "reproduce.py",
        "rounds",
        "sweeps",
        "results of several models",
        "full disks",
    }  # seconds each; `make campaign`
    assert {trial.kind for trial in TRIALS} - slow == {trial.kind for trial in TRIALS if trial.sample}


def test_a_broken_trial_is_told(tmp_path: Path) -> None:
    def leaves_the_key(bench: Bench) -> None:
        (bench.folder / "a.txt").write_text("q8Vt3LmX0")  # a part of it
        (bench.folder / "executed").touch()
        bench.run("train", "stage=nothing", code=0, says=["all is well"])

    found = perform(Trial("made up", "everything", leaves_the_key), tmp_path / "trial").broken
    assert sorted({how for how, _ in found}) == ["code", "executed", "key", "message"]


@pytest.mark.campaign
def test_campaign_of_faults() -> None:
    """Writes docs/campaigns/faults.md. Run by ``make campaign``."""
    assert main(["--jobs", str(os.cpu_count() or 1), "--table", str(ROOT / "docs" / "campaigns" / "faults.md")]) == 0
