"""tuna.signals: what a signal does where no command answers it."""

import signal
import subprocess
import sys

import pytest

BEFORE = "with ended_cleanly():\n    os.kill(os.getpid(), signal.SIGTERM)"
FORK = "with ended_cleanly() as ending:\n    ending.answered = True\n" \
    "    if os.fork() == 0:\n        os.kill(os.getpid(), signal.SIGTERM)\n        os._exit(3)\n" \
    "    sys.exit(os.waitstatus_to_exitcode(os.wait()[1]) + 100)"  # fmt: skip


@pytest.mark.parametrize(("code", "ends"), [(BEFORE, -signal.SIGTERM), (FORK, 100 - signal.SIGTERM)])
def test_outside_of_a_commands_own_part_it_ends_in_silence(code: str, ends: int) -> None:
    words = [sys.executable, "-c", f"import os, signal, sys\nfrom tuna.signals import ended_cleanly\n{code}"]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout + ended.stderr) == (ends, "")
