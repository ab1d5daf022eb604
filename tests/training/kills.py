"""Starting the real train.py in a process of its own, and killing it."""

import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests import warm
from tests.warm import Warm

ROOT = Path(__file__).parents[2]


def start(overrides: list[str], *, cold: bool = False) -> Warm:
    """train.py, in a session of its own so that nothing survives a kill of its group. cold: Python starts what it
    starts, and no fork (tests/warm.py).
    """
    return warm.start(ROOT / "train.py", overrides, env={"OMP_NUM_THREADS": "1"} | ({warm.COLD: "1"} if cold else {}))


def finish(overrides: list[str]) -> str:
    """Run train.py to its end and give its output; the exit code has to be 0."""
    process = start(overrides)
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 0, output
    return output


def kill_when(overrides: list[str], ready: Callable[[], bool], timeout: float = 120) -> bool:
    """Start train.py and SIGKILL it (its own process only: children have to notice) as soon as ``ready``.

    Returns whether it was killed; False when it ended first, which is only right with exit code 0.
    """
    process = start(overrides)
    end = time.monotonic() + timeout
    while not ready():
        if process.poll() is not None:
            assert process.returncode == 0, process.stdout.read()
            return False
        assert time.monotonic() < end, "never ready"
        time.sleep(0.003)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)  # ends when every process that holds the pipe has ended
    return True


def steps_run(folder: Path) -> int:
    """Optimizer steps that all processes of a run have logged (log_every=1), redone ones counted again."""
    log = folder / "log.txt"
    return sum("  loss " in line and " step " in line for line in log.read_text().splitlines()) if log.exists() else 0
