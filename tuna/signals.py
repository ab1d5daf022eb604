"""What signals do to a command: SIGTERM ends it as Ctrl-C does, and one that another started ends with that one."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

PARENT = "TUNA_PARENT"  # in a command's environment: the process id of the command that started it


@contextmanager
def ended_cleanly() -> Iterator[list[int]]:
    """Within it, SIGTERM raises KeyboardInterrupt, so that it is written down what became of the work. Gives the
    signals that came; nothing is changed where somebody else answers SIGTERM, or outside of the main thread.
    """
    heard: list[int] = []

    def hear(number: int, frame: FrameType | None) -> None:
        heard.append(number)
        raise KeyboardInterrupt

    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if ours:
        signal.signal(signal.SIGTERM, hear)
    try:
        yield heard
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def end_with_parent(number: int, parent: int | None = None) -> None:
    """Have Linux send this process the signal ``number`` when its parent ends, so that no orphan goes on writing.

    parent: its process id, where that is known; where it has ended already, this process ends too.
    """
    if sys.platform == "linux":
        import ctypes

        parent = os.getppid() if parent is None else parent
        ctypes.CDLL(None).prctl(1, number)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:  # it was killed before we asked
            sys.exit(1)


def end_with_command() -> None:
    """End as by SIGTERM when the command that started this one ends, where the environment names one."""
    parent = os.environ.pop(PARENT, "")
    if parent.isdecimal():
        end_with_parent(signal.SIGTERM, int(parent))
