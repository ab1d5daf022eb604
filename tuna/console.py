"""What commands print: how far they are, durations, the name that was meant, lists cut short, commands to type next."""

import difflib
import os
import re
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TextIO

_PACKAGE = Path(__file__).resolve().parent
# The folder of train.py and its like; None where the package was installed from a wheel, which holds conf/ itself.
CHECKOUT = _PACKAGE.parent if (_PACKAGE / "conf").is_symlink() else None
STARTED_AS = "TUNA_COMMAND"  # the variable that holds what was typed before "train": tuna, or python -m tuna
SCRIPTS = ("train", "rank", "evaluate", "report", "reproduce")  # a file each at the top of a checkout
_COMMAND = re.compile(rf"\bpython (?:({'|'.join(SCRIPTS)})\.py|-m tuna (chat))\b")

Clock = Callable[[], float]
_LINE_EVERY, _MOVE_EVERY = 10.0, 0.5  # seconds: in a file, and on a terminal
_LONG = 8192  # tokens of prompts that a small model on a CPU reads in some 20 seconds


class Spent(Protocol):
    """What was used so far, such as tuna.inference.cost.Usage."""

    def __add__(self, other: Any) -> "Spent": ...

    def brief(self) -> str:
        """As the line shows it."""


class Progress:
    """Counts what is finished of ``total`` and prints it to ``stream`` (stderr).

    unit: what is counted. The rate is that of this process; ``before`` were done by an earlier one.
    """

    def __init__(
        self, unit: str, total: int, before: int = 0, *, stream: TextIO | None = None, clock: Clock = time.monotonic
    ) -> None:
        self.unit, self.total, self.aside = unit, total, 0
        self.spent: Spent | None = None
        self._stream, self._clock = stream or sys.stderr, clock
        self._moves = self._stream.isatty()
        self.begin(before)

    def begin(self, before: int) -> None:
        """The work begins, when ``before`` are done already."""
        self.done = self._before = before
        self._start = self._shown = self._clock()

    def update(self, done: int = 0, *, aside: int = 0, usage: Spent | None = None) -> None:
        """Count, and print when it is time to."""
        self.done += done
        self.aside += aside
        if usage is not None:
            self.spent = self.spent + usage if self.spent else usage
        self._print_when_due(lambda: "")

    def within(self, count: int, reading: int = 0) -> Callable[[int, int, int], None]:
        """For a batch of ``count`` answers that begins now: takes how many have ended, the tokens so far and how many
        more there can be, and prints when it is time to, so that a long batch is not silent.

        reading: tokens of its prompts, which come first, in one piece; where the first batch has many that is said at
        once.
        """
        start = self._clock()
        if reading >= _LONG and self.done == self._before:
            self._print(f"; this batch: 0/{count:,}, reading {reading:,} tokens of prompts first", self._end)

        def told(ended: int, tokens: int, most: int) -> None:
            def batch() -> str:
                rate = tokens / max(self._clock() - start, 1e-9)
                left = f"at most {clock_time(most / rate)} left" if rate else "no token yet"
                return f"; this batch: {ended:,}/{count:,}, {tokens:,} tokens, {rate:.1f}/s, {left}"

            self._print_when_due(batch)

        return told

    def line(self) -> str:
        """As ``answers: 30/120, 2.0/s, 45 s left, 3,000 + 900 tokens, $0.02``."""
        rate = (self.done - self._before) / max(self._clock() - self._start, 1e-9)
        parts = [f"{self.unit}: {self.done:,}/{self.total:,}"]
        if rate:
            parts.append(f"{rate:.1f}/s")
        if rate and (left := self.total - self.done - self.aside) > 0:
            parts.append(f"{clock_time(left / rate)} left")
        if self.aside:
            parts.append(f"{self.aside} set aside")
        if self.spent:
            parts.append(self.spent.brief())
        return ", ".join(parts)

    def close(self) -> None:
        """Print the last line."""
        if self.done > self._before or self.aside:
            self._print("", end="\n")

    def _print_when_due(self, more: Callable[[], str]) -> None:
        now = self._clock()
        if now - self._shown >= (_MOVE_EVERY if self._moves else _LINE_EVERY):
            self._shown = now
            self._print(more(), self._end)

    @property
    def _end(self) -> str:
        return "\r" if self._moves else "\n"

    def _print(self, more: str, end: str) -> None:
        text = self.line() + more
        print(text.ljust(118) if self._moves else text, end=end, file=self._stream, flush=True)


def clock_time(seconds: float) -> str:
    """A duration in words.

    >>> clock_time(42), clock_time(90), clock_time(7300)
    ('42 s', '1 min 30 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def nearest(name: str, allowed: Sequence[str]) -> str:
    """``; did you mean X?``, where ``name`` is like an allowed one or like the last part of one; or nothing.

    >>> nearest("loss.lamda", ["loss.lambda", "loss.margin"]), nearest("lambda", ["loss.lambda", "module.lr"])
    ('; did you mean loss.lambda?', '; did you mean loss.lambda?')
    """
    by_last = {key.rpartition(".")[2]: key for key in allowed}
    found = difflib.get_close_matches(name, allowed, n=1)
    found = found or [by_last[last] for last in difflib.get_close_matches(name.rpartition(".")[2], by_last, 1, 0.7)]
    return f"; did you mean {found[0]}?" if found else ""


def shortened(lines: Sequence[str], most: int) -> list[str]:
    """The first lines, and how many more there are.

    >>> shortened(["a", "b", "c"], 2)
    ['a', 'b', '... and 1 more']
    """
    return [*lines[:most], *([f"... and {len(lines) - most} more"] if len(lines) > most else [])]


def as_typed(text: str) -> str:
    """``text``, in which commands (``python train.py``) stand as they work here: with the script's path from another
    folder; ``tuna train`` where that was typed, or where there are no scripts.

    >>> as_typed("next: python train.py name=a").partition("train.py ")[2]
    'name=a'
    """
    return _COMMAND.sub(lambda found: typed(found[1] or found[2]), text)


def typed(name: str) -> str:
    """How one starts the command ``name`` here, quoted for a shell."""
    started = os.environ.get(STARTED_AS)
    if started or CHECKOUT is None:
        return f"{started or 'tuna'} {name}"
    if name not in SCRIPTS:
        return f"python -m tuna {name}"
    script = f"{name}.py"
    here = Path.cwd() == CHECKOUT or CHECKOUT.samefile(Path.cwd())
    return f"python {script if here else shlex.quote(str(CHECKOUT / script))}"


def started_as(program: str) -> str:
    """What the user typed to start ``program``, argv[0] of the console command or of ``python -m tuna``."""
    if Path(program).name == "__main__.py":
        return f"{_shortest(sys.executable, 'python')} -m tuna"
    return _shortest(program, Path(program).name)


def _shortest(path: str, name: str) -> str:
    """``name`` where a shell finds ``path`` by it, else the path."""
    found = shutil.which(name)
    return name if found and os.path.exists(path) and os.path.samefile(found, path) else shlex.quote(path)
