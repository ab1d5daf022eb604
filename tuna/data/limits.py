"""A bound on time and memory for code of others, such as a tokenizer's chat template, that runs in this process."""

import resource
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_TICK = 0.25


@contextmanager
def bounded(*, seconds: float, size: int) -> Iterator[None]:
    """Let the body compute for ``seconds``, and allocate ``size`` bytes where the system can tell (Linux).

    Time is the thread's own, so that a busy or a sleeping machine is no fault. Only the main thread is bounded, as
    signals reach no other; it is the one that reads models and data.

    Raises:
        TimeoutError: it went on for longer.
        MemoryError: it took more.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    begun = time.thread_time()

    def look(signal_number: int, frame: FrameType | None) -> None:
        if time.thread_time() - begun > seconds:
            raise TimeoutError(f"it goes on for more than {seconds:g} s")

    taken, limit = _taken(), resource.getrlimit(resource.RLIMIT_AS)
    allowed = [each for each in (taken + size, *limit) if each != resource.RLIM_INFINITY]
    handler = signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, _TICK, _TICK)
    try:
        if taken:
            resource.setrlimit(resource.RLIMIT_AS, (min(allowed), limit[1]))
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        resource.setrlimit(resource.RLIMIT_AS, limit)


def _taken() -> int:
    """Bytes of this process's address space, 0 where that is not told."""
    try:
        with open("/proc/self/statm", "rb", buffering=0) as file:
            return int(file.read(32).split()[0]) * resource.getpagesize()
    except OSError:
        return 0
