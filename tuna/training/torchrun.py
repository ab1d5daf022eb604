"""torchrun without its tracebacks: who ended and how goes to a file. Called as torch.distributed.run is."""

import json
import signal
import sys
from pathlib import Path

# Exit codes of a worker that others brought down: which of several failures is the first one to tell.
LOST, TIMED_OUT = 3, 4


def failure_file(config: Path) -> Path:
    """Where main leaves ``{"rank": ..., "code": ...}`` of the process that failed first; codes below 0 are signals."""
    return config.with_suffix(".failure")


def fault_file(config: Path) -> Path:
    """Where the worker that was at fault leaves its message; the first one, where several were."""
    return config.with_suffix(".fault")


def main() -> int:
    """Start and watch the workers; 1 when one of them failed, 128 and the signal where one ended all."""
    try:
        return _watch(sys.argv[1:])
    except KeyboardInterrupt:
        return 130


def _watch(arguments: list[str]) -> int:
    import logging

    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    from tuna.training.distributed import die_with_parent

    die_with_parent()
    logging.disable()
    try:
        torchrun(arguments)
    except ChildFailedError as error:
        ended = {rank: failure.exitcode for rank, failure in error.failures.items()}  # in the order they were seen
        first = min(
            ended, key=lambda rank: ended[rank] in (LOST, -signal.SIGTERM)
        )  # torchrun sends SIGTERM to the rest
        failure_file(Path(arguments[-1])).write_text(json.dumps({"rank": first, "code": ended[first]}))
        return 1
    except SignalException as stop:
        return 128 + int(stop.sigval)
    return 0


if __name__ == "__main__":
    sys.exit(main())
