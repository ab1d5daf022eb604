"""What signals do to a command: SIGTERM ends it as Ctrl-C does, and one that another started ends with that one."""

import _thread
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

PARENT = "TUNA_PARENT"  # in a command's environment: the process id of the command that started it


def begin() -> None:
    """Have Ctrl-C end this process with one line where no command answers it: before, while modules are imported, and
    after. To be called first; nothing is changed where Ctrl-C is ignored, as behind nohup.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, end_at_once)


def end_at_once(number: int, frame: FrameType | None) -> None:
    """Answer Ctrl-C where there is nothing to save; Python would show where it was, or lose it in an import."""
    with suppress(Exception):  # a write that was interrupted
        sys.stdout.flush()
    os.write(2, b"interrupted\n")
    os._exit(128 + number)


class Ending:
    """How a command is to end by a signal: what ``ended_cleanly`` gives."""

    def __init__(self) -> None:
        self.heard: int | None = None  # the last SIGTERM
        self.process = os.getpid()
        self._answered, self._begun = False, signal.getsignal(signal.SIGINT) is end_at_once

    @property
    def answered(self) -> bool:
        """Whether the command catches KeyboardInterrupt now, which it says itself."""
        return self._answered

    @answered.setter
    def answered(self, now: bool) -> None:
        self._answered = now
        if self._begun:
            signal.signal(signal.SIGINT, signal.default_int_handler if now else end_at_once)

    def hear(self, number: int, frame: FrameType | None) -> None:
        """Answer a signal: before and after the command's own part, and in a fork of it, as if nobody heard it."""
        if not self.answered or os.getpid() != self.process:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.heard = number
        raise KeyboardInterrupt

    def hear_again(self) -> None:
        """The signal once more, a moment later: Python has dropped the KeyboardInterrupt."""
        time.sleep(0.02)
        if self.answered:
            signal.pthread_kill(threading.main_thread().ident or 0, self.heard or signal.SIGINT)


@contextmanager
def ended_cleanly() -> Iterator[Ending]:
    """Within it, SIGTERM raises KeyboardInterrupt where that is caught (``answered``), so that it is written down what
    became of the work, and neither that nor Ctrl-C is lost in a destructor, where Python prints it and goes on.

    Nothing is changed where somebody else answers SIGTERM, or outside of the main thread.
    """
    ending, show = Ending(), sys.unraisablehook

    def dropped(what: "sys.UnraisableHookArgs") -> None:
        if isinstance(what.exc_value, KeyboardInterrupt) and ending.answered:
            _thread.start_new_thread(ending.hear_again, ())
        else:
            show(what)

    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if ours:
        sys.unraisablehook = dropped
        signal.signal(signal.SIGTERM, ending.hear)
    try:
        yield ending
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            sys.unraisablehook = show


def by_interrupt(error: BaseException | None) -> bool:
    """Whether a fault came of an interrupt: some library's clean-up failed on what was not made yet.

    >>> try:
    ...     try:
    ...         raise KeyboardInterrupt
    ...     finally:
    ...         None.close()
    ... except AttributeError as error:
    ...     by_interrupt(error), by_interrupt(ValueError())
    (True, False)
    """
    seen: set[int] = set()  # an error may be its own cause
    while error is not None and id(error) not in seen:
        if isinstance(error, KeyboardInterrupt):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


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
