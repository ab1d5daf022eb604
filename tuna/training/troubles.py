"""What goes wrong around a run, in words: its folder, its data workers, the other processes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch.distributed.checkpoint.api import CheckpointException

from tuna.errors import RunError
from tuna.files import FULL
from tuna.training import distributed

AGAIN = "free some space, then go on with the same command and resume=auto"
# torch says these with a bare RuntimeError; nothing else tells them apart.
_TIMED_OUT = ("timed out", "timeout")
_LOST = ("gloo", "nccl", "connection closed by peer", "connection reset by peer", "broken pipe", *_TIMED_OUT)


class LostProcess(RunError):
    """Another process of the run ended, or (``timed_out``) did not answer; whoever started them knows more."""

    def __init__(self, message: str, timed_out: bool = False) -> None:
        super().__init__(message)
        self.timed_out = timed_out


@contextmanager
def explained(folder: Path, minutes: float) -> Iterator[None]:
    """Within it, such an error is a RunError with the next command. minutes: trainer.timeout_minutes."""
    try:
        yield
    except Exception as error:
        if trouble := _trouble(error, folder, minutes):
            raise trouble from error
        raise


def _trouble(error: Exception, folder: Path, minutes: float) -> RunError | None:
    if distributed.world_size() > 1 and (lost := _lost(error, minutes)):
        return lost
    if not folder.is_dir():
        return RunError(
            f"{folder}: the run folder was removed or renamed while the run wrote to it; next: the same command, which "
            "starts anew, or put the folder back and give resume=auto"
        )
    if _of_worker(error):
        why = str(error).strip(" .") or type(error).__name__
        return RunError(
            f"a data worker ended ({why}); where it was killed, memory ran out most likely; "
            "next: the same command with resume=auto datamodule.num_workers=0"
        )
    if isinstance(error, OSError):
        again = AGAIN if error.errno in FULL else "next: put that right, then the same command with resume=auto"
        return RunError(f"{error.filename or folder}: {error.strerror or error}; {again}")
    return None


def _of_worker(error: Exception) -> bool:
    """torch says so, or its pipe to a worker breaks first: a batch comes through a socket, which has no file name."""
    if isinstance(error, RuntimeError):
        return "DataLoader worker" in str(error)
    return isinstance(error, EOFError | ConnectionError) or (
        isinstance(error, FileNotFoundError) and error.filename is None
    )


def _lost(error: Exception, minutes: float) -> LostProcess | None:
    causes: list[BaseException] = [error]
    if isinstance(error.__cause__, CheckpointException):  # a checkpoint that could not be written
        causes = [cause for cause, _ in error.__cause__.failures.values()]
    told = " ".join(str(cause).lower() for cause in causes if isinstance(cause, RuntimeError))
    if any(sign in told for sign in _TIMED_OUT):
        return LostProcess(waited(minutes), timed_out=True)
    if any(sign in told for sign in _LOST):
        return LostProcess(
            "another training process ended or cannot be reached; next: the same command with resume=auto"
        )
    return None


def waited(minutes: float) -> str:
    """For a process that did not answer in time."""
    return (
        f"waited {minutes:g} minutes (trainer.timeout_minutes) for another training process, which did not answer: it "
        "is stopped, it hangs, or its machine is lost; next: the same command with resume=auto"
    )
