"""tuna.training.troubles: folders, data workers and other processes that go away, in words."""

import errno
import json
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path
from traceback import StackSummary
from typing import Any

import pytest
from torch.distributed.checkpoint.api import CheckpointException

from tests.training.kills import start
from tests.training.make import overrides
from tests.warm import Warm
from tuna.config.compose import compose
from tuna.errors import RunError
from tuna.tracking.wandb_run import WandbRun
from tuna.training import distributed, launch, troubles
from tuna.training.log import Progress
from tuna.training.run import run
from tuna.training.troubles import LostProcess, explained

SHARDED = {
    "trainer": "fsdp", "trainer__accelerator": "cpu", "trainer__devices": 2, "trainer__precision": "32-true",
    "trainer__max_epochs": 500,
}  # fmt: skip


def at_step(monkeypatch: pytest.MonkeyPatch, step: int, act: Any) -> None:
    """Have ``act`` called once when this step is done."""
    report = Progress.on_train_batch_end
    done: list[int] = []

    def then(self: Progress, trainer: Any, *rest: Any) -> None:
        if trainer.global_step == step and not done:
            done.append(step)
            act()
        report(self, trainer, *rest)

    monkeypatch.setattr(Progress, "on_train_batch_end", then)


@pytest.mark.parametrize("logger", ["csv", "none"])
def test_a_run_folder_that_is_removed(
    llama: Path, lists: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logger: str
) -> None:
    at_step(monkeypatch, 4, lambda: shutil.rmtree(tmp_path / "run"))
    with pytest.raises(RunError, match=r"run: the run folder was removed or renamed while the run wrote to it; next: "):
        run(compose(overrides(llama, lists, tmp_path, name="run", logger=logger)))
    assert not (tmp_path / "run").exists()


def test_one_that_nobody_may_write_to(
    llama: Path, lists: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a change of rights does to anyone but root."""
    folders = (tmp_path / "run", tmp_path / "other")
    opened = Path.open

    def refused(self: Path, mode: str = "r", *rest: Any, **more: Any) -> Any:
        if any(map(self.is_relative_to, folders)) and mode != "r":
            raise PermissionError(errno.EPERM, "Operation not permitted", str(self))
        return opened(self, mode, *rest, **more)

    with monkeypatch.context() as patch:
        at_step(patch, 4, lambda: patch.setattr(Path, "open", refused))
        with pytest.raises(RunError, match=r"metrics\.csv: Operation not permitted; next: .* with resume=auto"):
            run(compose(overrides(llama, lists, tmp_path, name="run")))
    run(compose(overrides(llama, lists, tmp_path, name="run", resume="auto")))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refused)
        patch.setattr(os, "access", lambda *_: True)  # as a network's file system may say
        with pytest.raises(
            RunError, match=r"other: cannot write to it \(Operation not permitted\); choose another with name="
        ):
            run(compose(overrides(llama, lists, tmp_path, name="other")))


def test_a_killed_data_worker(llama: Path, lists: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def kill() -> None:
        (worker,) = multiprocessing.active_children()
        os.kill(int(worker.pid or 0), signal.SIGKILL)
        worker.join()

    at_step(monkeypatch, 4, kill)
    with pytest.raises(RunError, match=r"a data worker ended \(.* next: .* resume=auto datamodule\.num_workers=0"):
        run(compose(overrides(llama, lists, tmp_path, name="run", datamodule__num_workers=1)))
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "failed"
    run(compose(overrides(llama, lists, tmp_path, name="run", resume="auto", datamodule__num_workers=0)))


@pytest.mark.parametrize(
    ("words", "unwritten", "timed_out", "says"),
    [
        (
            "[gloo/transport/tcp/pair.cc:537] Connection closed by peer [127.0.0.1]:4711",
            False,
            False,
            "ended or cannot be",
        ),
        (
            "[unbound_buffer.cc:81] Timed out waiting 6000ms for recv operation to complete",
            False,
            True,
            "waited 0.5 minutes",
        ),
        ("gloo: Broken pipe", True, False, "ended or cannot"),
    ],
)
def test_what_a_lost_process_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, unwritten: bool, timed_out: bool, says: str
) -> None:
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    with pytest.raises(LostProcess, match=says) as caught, explained(tmp_path, 0.5):
        try:
            raise (
                CheckpointException("", {1: (RuntimeError(words), StackSummary())})
                if unwritten
                else RuntimeError(words)
            )
        except CheckpointException as error:
            raise RunError(f"step-3.tmp: the checkpoint cannot be written ({words})") from error
    assert caught.value.timed_out is timed_out
    monkeypatch.setattr(distributed, "world_size", lambda: 1)
    with pytest.raises(RuntimeError, match=r"^gloo"), explained(tmp_path, 0.5):
        raise RuntimeError(f"gloo {words}")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "),
        ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
        EOFError(),
        FileNotFoundError(errno.ENOENT, "No such file or directory"),  # the worker's socket
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_sign_of_a_dead_worker(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(RunError, match=r"^a data worker ended \("), explained(tmp_path, 1.0):
        raise error


def test_faults_of_our_own_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), explained(tmp_path, 1.0):
        raise ZeroDivisionError
    with pytest.raises(RunError, match=f"x: No space left on device; {troubles.AGAIN}"), explained(tmp_path, 1.0):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "x")


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (-signal.SIGKILL, r"process 1 of 2 \(from 0\) was ended by SIGKILL; memory ran out most likely"),
        (-signal.SIGSEGV, r"was ended by SIGSEGV; next: the same command with resume=auto"),
        (launch.TIMED_OUT, r"waited 7 minutes \(trainer\.timeout_minutes\)"),
        (launch.LOST, "lost another, which ended or cannot be reached; next: "),
        (1, "1 of 2 .* ended with exit code 1; what it printed, if anything, stands above; next: .* resume=auto"),
    ],
)
def test_what_is_known_of_the_process_that_ended(code: int, says: str) -> None:
    with pytest.raises(RunError, match=says):
        raise launch._failed(1, code, 2, 7.0)
    assert isinstance(launch._failed(1, 130, 2, 7.0), KeyboardInterrupt)


def test_a_process_that_a_signal_ended_is_at_fault() -> None:
    assert launch._at_fault({0: launch.LOST, 1: 1, 2: -signal.SIGTERM, 3: -signal.SIGKILL}) == 3
    assert launch._at_fault({0: -signal.SIGTERM, 1: 1, 2: launch.LOST}) == 1
    assert launch._at_fault({0: launch.LOST, 1: -signal.SIGTERM}) == 0


def children(process: Warm) -> list[int]:
    """The two workers under train.py and torchrun."""

    def below(pid: int) -> list[int]:
        found = Path(f"/proc/{pid}/task/{pid}/children")
        return [int(word) for word in found.read_text().split()] if found.exists() else []

    return [worker for launcher in below(process.pid) for worker in below(launcher)]


@pytest.mark.once
@pytest.mark.parametrize("moment", [pytest.param("killed", marks=pytest.mark.campaign), "ctrl-c"])
def test_sharded_processes_that_are_ended(llama: Path, lists: Path, tmp_path: Path, moment: str) -> None:
    process = start(overrides(llama, lists, tmp_path, name="run", **SHARDED), cold=True)  # as people start it
    log, end = tmp_path / "run" / "log.txt", time.monotonic() + 120
    while not (log.exists() and "step 3/" in log.read_text()):
        assert process.poll() is None and time.monotonic() < end, process.communicate()[0]
        time.sleep(0.02)
    workers = children(process)
    assert len(workers) == 2
    if moment == "killed":
        os.kill(workers[1], signal.SIGKILL)
    else:
        process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    status = json.loads((tmp_path / "run" / "run.json").read_text())["status"]
    assert "Traceback" not in output
    last = output.strip().splitlines()[-1]
    if moment == "killed":
        assert (process.returncode, status) == (1, "failed")
        assert "SIGKILL; memory ran out most likely" in last and output.count("error:") == 1
    else:
        assert (process.returncode, status) == (130, "interrupted") and last.startswith("interrupted: ")


@pytest.mark.parametrize("place", ["log_summary", "finish"])
def test_ctrl_c_while_wandb_closes_takes_nothing_from_a_finished_run(
    llama: Path, lists: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(WandbRun, place, interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(compose(overrides(llama, lists, tmp_path, name="run", trainer__max_steps=2)))
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "finished"
    assert "is finished, its model is" in (tmp_path / "run" / "log.txt").read_text()
