"""The fault campaign: a sample of each kind here, all of it by ``make campaign``."""

import os
import signal
import time
from pathlib import Path

import pytest

from perf.faults.__main__ import main, table
from perf.faults.base import ROOT, Bench, Trial, _Forked, perform
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


def test_a_step_that_is_ended_as_it_begins_ends_as_a_new_python_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def waits() -> None:  # at the fork's first call, so that it is ended there on a busy machine, too
        while signal.SIGTERM not in signal.sigpending():
            time.sleep(0.001)

    def raises(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("perf.faults.base.os.setsid", waits)
    before = signal.signal(signal.SIGTERM, raises)  # as reproduce.py's own
    try:
        with (tmp_path / "log").open("w") as log:
            step = _Forked(["python", "report.py", "--help"], log, {})
            step.terminate()
        assert step.wait() == -signal.SIGTERM and not (tmp_path / "log").read_text()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_broken_trial_is_told(tmp_path: Path) -> None:
    def leaves_the_key(bench: Bench) -> None:
        (bench.folder / "a.txt").write_text("q8Vt3LmX0")  # a part of it
        (bench.folder / "executed").touch()
        bench.run("train", "stage=nothing", code=0, says=["all is well"])

    found = perform(Trial("made up", "everything", leaves_the_key), tmp_path / "trial").broken
    assert sorted({how for how, _ in found}) == ["code", "executed", "key", "message"]


def test_the_page_tells_trials_that_are_newer_than_the_last_run_of_their_kind(tmp_path: Path) -> None:
    first, *others = (trial for trial in TRIALS if trial.kind == "verdicts")
    before = f"| x | n |\n| :-- | --: |\n| verdicts | 1 | 0 | 2026-01-01 |\n\n- **verdicts**: {first.name}.\n"
    said = table([], 0.0, before)
    assert f"Not run yet, since they are newer: verdicts: {others[0].name}; " in said
    assert f"- **verdicts**: {first.name}." in said and "| verdicts | 1 | 0 | 2026-01-01 |" in said
    everything = "; ".join(trial.name for trial in (first, *others))
    assert "since they are newer" not in table([], 0.0, before.replace(first.name, everything))


@pytest.mark.campaign
def test_campaign_of_faults() -> None:
    """Writes docs/campaigns/faults.md. Run by ``make campaign``."""
    assert main(["--jobs", str(os.cpu_count() or 1), "--table", str(ROOT / "docs" / "campaigns" / "faults.md")]) == 0
