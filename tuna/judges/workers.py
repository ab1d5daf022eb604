"""Worker processes for a user's functions: started, given jobs, watched by the clock, killed and replaced."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from tuna.errors import ConfigError, RunError

_SCRIPT = Path(__file__).with_name("worker.py")
_PRINTED = 4_000  # characters of what a function printed that are kept beside a fault
_LOOK = 0.5  # seconds after which a worker is looked at whose death nobody told
_GRACE = 3.0  # seconds that a worker has to end by itself, or to say where it is
_LAST_FRAME = b" in <module>\n"  # how the traceback of a worker's main thread ends


@dataclass(frozen=True, slots=True)
class Job:
    """One row for one function, by its number."""

    function: int
    prompt: str
    answers: Sequence[str]
    row: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Values:
    """What a function gave for the answer at ``place``, or for all of them where it takes all at once."""

    place: int
    values: list[float | None]


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a row has no values, in one line; and the answer, the traceback and what was printed."""

    reason: str
    raw: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Loaded:
    """A function as a worker imported it. whole: it takes all answers of a row at once."""

    shown: str
    sha256: str
    whole: bool


@dataclass(frozen=True)
class Workers:
    """Up to ``count`` processes, each with all ``functions`` (``PATH.py:NAME`` or ``package.module:NAME``) imported.

    timeout: seconds per job. import_timeout: seconds until the functions are imported.
    """

    functions: Sequence[str]
    count: int
    timeout: float
    import_timeout: float

    def check(self) -> list[Loaded]:
        """Import the functions once, in a process of its own. Raises: ConfigError where one cannot be used."""
        names = ", ".join(self.functions)
        worker = self._start(None)
        try:
            while True:
                _wait([worker])
                for message in worker.hear():
                    if "refused" in message:
                        raise ConfigError(message["refused"])
                    worker.loaded = True
                    return [Loaded(**each) for each in message["loaded"]]
                if (end := worker.ended()) is not None:
                    raise ConfigError(f"{names}: {end} while it was imported")
                if worker.late:
                    raise ConfigError(f"{names}: not imported within import_timeout={self.import_timeout:g} seconds")
        finally:
            worker.close(kill=not worker.loaded)

    def run(self, jobs: Iterable[Job], known: Sequence[Loaded]) -> Generator[tuple[Job, Values | Fault | None]]:
        """Each job with the values that it brings as they come, and last with a fault, or None where it has ended well.

        known: what ``check`` gave. Close it where it is not read to its end, so that the processes end.
        Raises: RunError where the functions cannot be imported any more, or are not what they were.
        """
        waiting = iter(jobs)
        workers: list[_Worker] = []
        try:
            while True:
                while len(workers) < self.count and (job := next(waiting, None)) is not None:
                    workers.append(self._start(job))
                if not workers:
                    return
                _wait(workers)
                for worker in list(workers):
                    ended = False
                    for job, told in self._told(worker, known):
                        yield job, told
                        ended = not isinstance(told, Values)
                    following = next(waiting, None) if ended and not worker.lost else None
                    if following is not None:
                        worker.give(following, self.timeout)
                    elif ended:
                        worker.close(kill=worker.lost)
                        workers.remove(worker)
        finally:
            for worker in workers:
                worker.close(kill=True)

    def _start(self, job: Job | None) -> "_Worker":
        setup = {"functions": list(self.functions), "path": [os.getcwd(), *filter(None, sys.path)]}
        threads = max(1, (os.cpu_count() or 1) // self.count)  # of one worker, where nothing else is set
        return _Worker(setup, {"OMP_NUM_THREADS": str(threads), **os.environ}, self.import_timeout, job)

    def _told(self, worker: "_Worker", known: Sequence[Loaded]) -> Iterator[tuple[Job, Values | Fault | None]]:
        """What a worker has said of its job since the last look, and what its silence means."""
        job = worker.job
        assert job is not None
        shown = known[job.function].shown
        for message in worker.hear():
            if "refused" in message:
                raise RunError(f"{message['refused']}; it could be imported before. Next: mend it, or fewer workers=")
            if "loaded" in message:
                if [Loaded(**each) for each in message["loaded"]] != list(known):
                    raise RunError(f"{shown} was changed since it was first imported. Next: the same command")
                worker.give(job, self.timeout)
            elif "values" in message:
                yield job, Values(message["place"], message["values"])
            else:
                fault = message.get("fault")
                yield job, fault and Fault(fault, worker.evidence(message["place"], message["raw"]))
                return
        end = worker.ended()
        if end is None and worker.late:
            worker.tell_where()
            end = f"took longer than timeout={self.timeout:g} seconds" if worker.loaded else "took too long"
        if end is not None and not worker.loaded:
            raise RunError(
                f"{shown}: {end} while it was imported once more. Next: fewer workers=, a longer import_timeout="
            )
        if end is not None:
            yield job, Fault(f"{shown}: {end}", worker.evidence())


class _Worker:
    """One process, and the job that it has or will have."""

    def __init__(self, setup: dict[str, Any], environment: dict[str, str], patience: float, job: Job | None) -> None:
        self.channel, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-u", str(_SCRIPT), str(theirs.fileno())],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, pass_fds=[theirs.fileno()],
                start_new_session=True, env=environment, bufsize=0,
            )  # fmt: skip
        assert self.process.stdout is not None
        self.output, self.printed, self.silent = self.process.stdout, b"", False
        os.set_blocking(self.output.fileno(), False)
        self.job, self.loaded, self.heard = job, False, b""
        self.gone = self.lost = False  # whether the channel has ended; whether it is of no use any more
        self.noisy = False  # whether something else was written to it
        self._send(setup, patience)

    @property
    def late(self) -> bool:
        """Whether its time is over."""
        return time.monotonic() > self.deadline

    def give(self, job: Job, patience: float) -> None:
        """Have it do a job."""
        self._drain()
        self.job, self.loaded, self.printed = job, True, b""
        message = {"function": job.function, "prompt": job.prompt, "answers": list(job.answers), "row": job.row}
        self._send(message, patience)

    def hear(self) -> Iterator[dict[str, Any]]:
        """The messages that have come."""
        self._drain()
        if not self.gone and wait([self.channel], 0):
            try:
                new = self.channel.recv(1 << 20)
            except OSError:
                new = b""
            self.gone = not new
            *lines, self.heard = (self.heard + new).split(b"\n")
            for line in lines:
                try:
                    yield dict(json.loads(line))
                except (ValueError, TypeError):  # the function's own writing, to a file that it did not open
                    self.gone = self.noisy = True
                    return

    def ended(self) -> str | None:
        """How it ended, in words; None while it runs or has something left to say."""
        if not self.gone and (self.process.poll() is None or wait([self.channel], 0)):
            return None
        self.lost = True
        if self.noisy:
            return "it wrote to the connection on which its values are told"
        if (code := self._wait()) is None:
            return "its process left its connection"
        return f"its process was killed by {signal.Signals(-code).name}" if code < 0 else f"its process ended ({code})"

    def tell_where(self) -> None:
        """Give it up, but have it print the traceback of where it is."""
        self.lost = True
        self._drain()
        self.process.send_signal(signal.SIGUSR1)
        until, before = time.monotonic() + _GRACE, self.printed
        while self.printed == before or not self.printed.endswith(_LAST_FRAME):  # it comes in pieces
            left = until - time.monotonic()
            if self.silent or left < 0 or not wait([self.output.fileno()], left):
                break
            self._drain()

    def evidence(self, place: int | None = None, traceback: str = "") -> tuple[str, ...]:
        """What there is to find a fault by: the answer, the traceback, what was printed."""
        self._drain()
        assert self.job is not None
        shown = "" if place is None else f"answer: {self.job.answers[place]}"
        printed = self.printed.decode("utf-8", "replace")
        return tuple(filter(None, (shown, traceback, f"printed: {printed}" if printed else "")))

    def close(self, *, kill: bool = False) -> None:
        """End the process, and what it has started."""
        self.channel.close()
        if not kill:
            self._wait()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.output.close()

    def _wait(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            return self.process.wait(_GRACE)
        return None

    def _send(self, message: dict[str, Any], patience: float) -> None:
        self.deadline = time.monotonic() + patience
        self.channel.settimeout(patience)
        with suppress(OSError):  # dead or too late: the next look tells
            self.channel.sendall(json.dumps(message).encode() + b"\n")

    def _drain(self) -> None:
        """Take what was printed, and keep its end."""
        for _ in range(64):
            try:
                new = b"" if self.silent else os.read(self.output.fileno(), 1 << 16)
            except BlockingIOError:
                return
            self.silent = not new
            if self.silent:
                return
            self.printed = (self.printed + new)[-_PRINTED:]


def _wait(workers: Sequence[_Worker]) -> None:
    """Until one of them has something to say, or its time is over."""
    left = min(worker.deadline for worker in workers) - time.monotonic()
    sources: list[Any] = [worker.channel for worker in workers]
    wait(sources + [worker.output for worker in workers if not worker.silent], max(0.0, min(_LOOK, left)))
