"""The line that tells how far a collection is, and when it is printed."""

import io

from tuna.console import Progress
from tuna.inference.cost import Usage


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_rate_time_tokens_and_money() -> None:
    clock = Clock()
    progress = Progress("answers", 100, 10, stream=io.StringIO(), clock=clock)
    clock.now = 5.0
    progress.update(20, usage=Usage(20, 3000, 900, 0.02))
    progress.update(aside=1)
    assert progress.line() == "answers: 30/100, 4.0/s, 17 s left, 1 set aside, 3,000 + 900 tokens, $0.02"


def test_a_line_every_ten_seconds_and_one_at_the_end() -> None:
    clock, stream = Clock(), io.StringIO()
    progress = Progress("verdicts", 4, stream=stream, clock=clock)
    for now in (3.0, 9.0, 11.0, 15.0):
        clock.now = now
        progress.update(1)
    progress.close()
    assert stream.getvalue().splitlines() == ["verdicts: 3/4, 0.3/s, 4 s left", "verdicts: 4/4, 0.3/s"]


def test_silence_where_nothing_was_done() -> None:
    stream = io.StringIO()
    Progress("answers", 5, 5, stream=stream).close()
    assert stream.getvalue() == ""


def test_one_moving_line_on_a_terminal() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    clock, stream = Clock(), Terminal()
    progress = Progress("answers", 2, stream=stream, clock=clock)
    clock.now = 1.0
    progress.update(1)
    assert stream.getvalue().endswith("\r") and stream.getvalue().startswith("answers: 1/2")


def test_a_long_batch_is_not_silent() -> None:
    clock, stream = Clock(), io.StringIO()
    progress = Progress("answers", 64, stream=stream, clock=clock)
    clock.now = 4.0
    told = progress.within(128)
    for now, ended, tokens, most in ((9.0, 0, 1000, 9000), (14.0, 32, 2000, 6000), (15.0, 64, 2100, 5900)):
        clock.now = now
        told(ended, tokens, most)
    assert stream.getvalue() == "answers: 0/64; this batch: 32/128, 2,000 tokens, 200.0/s, at most 30 s left\n"


def test_long_prompts_are_told_of_before_the_first_batch_reads_them() -> None:
    stream = io.StringIO()
    progress = Progress("answers", 128, stream=stream, clock=Clock())
    progress.within(64, 8191)
    assert not stream.getvalue()
    progress.within(64, 30_000)
    assert stream.getvalue() == "answers: 0/128; this batch: 0/64, reading 30,000 tokens of prompts first\n"
    progress.update(64)
    progress.within(64, 20_000)
    assert stream.getvalue().count("\n") == 1
