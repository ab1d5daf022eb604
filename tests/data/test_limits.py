"""Code of others ends: by time, and by memory."""

import resource
import signal
import sys
import threading
import time

import pytest

from tuna.data.chat import bounded


def test_a_loop_without_an_end_is_ended_and_everything_is_as_before() -> None:
    before = resource.getrlimit(resource.RLIMIT_AS), signal.getsignal(signal.SIGALRM)
    with pytest.raises(TimeoutError, match=r"more than 0\.1 s"), bounded(seconds=0.1, size=2**30):
        while True:
            pass
    assert (resource.getrlimit(resource.RLIMIT_AS), signal.getsignal(signal.SIGALRM)) == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_sleep_is_not_counted() -> None:
    with bounded(seconds=0.1, size=2**30):
        time.sleep(0.6)


@pytest.mark.skipif(sys.platform != "linux", reason="the address space is Linux's to limit")
def test_memory_without_an_end_is_refused() -> None:
    with pytest.raises(MemoryError), bounded(seconds=9, size=2**28):
        bytearray(2**30)
    with bounded(seconds=9, size=2**30):
        bytearray(2**28)


def test_another_thread_is_left_alone() -> None:
    def body() -> None:
        with bounded(seconds=0, size=0):
            done.append(sum(range(10**6)))

    done: list[int] = []
    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert done == [499999500000]
