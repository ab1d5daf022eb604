"""Judges that are a user's own Python function: it raises, hangs, dies, lies, is edited; what it had scored is kept.

Six lists of three answers, ranked by the function of a file. It writes every call to calls.txt, so that it is seen what
was computed twice.
"""

import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from perf.faults.base import SECRET_NAME, Bench, Ended, Trial, files_of, wait_for, write_rows

KIND = "function judges"
ROWS, ANSWERS = 6, 3
ODD = "q2"  # the row that the fault befalls
HEAD = """import ctypes, os, signal, subprocess, sys, threading, time

def score(prompt, answer, row):
    with open(os.path.join(os.path.dirname(__file__), "calls.txt"), "a") as calls:
        calls.write(row["id"] + " " + answer + "\\n")
"""
GOOD = "    return len(answer)\n"


def _write(bench: Bench, body: str) -> None:
    rows = [
        {"id": f"q{n}", "instruction": f"Question {n}", "output": "word", "responses": [
            {"text": f"{'word ' * (k + 1)}{n}"} for k in range(ANSWERS)
        ]} for n in range(ROWS)
    ]  # fmt: skip
    write_rows(bench.folder / "in.jsonl", rows)
    (bench.folder / "my.py").write_text(body)


def _rank(bench: Bench, *words: str, **expected: Any) -> Ended:
    fixed = ["input=in.jsonl", "output=out.jsonl", "score_only=true", "judge=function", "judge.function=my.py:score"]
    return bench.run("rank", *fixed, "judge.workers=1", "judge.timeout=20", *words, **expected)


def _report(bench: Bench) -> dict[str, Any]:
    path = bench.folder / "out.report.json"
    return dict(json.loads(path.read_text())) if path.exists() else {}


def _calls(bench: Bench) -> Counter[str]:
    path = bench.folder / "calls.txt"
    return Counter(path.read_text().splitlines()) if path.exists() else Counter()


def _set_aside(bench: Bench, fault: str, says: str, words: tuple[str, ...]) -> None:
    """One row of six: five lists, and a reason for the sixth; the next run computes nothing of the others again."""
    _write(bench, f"{HEAD}    if row['id'] == '{ODD}':\n        {fault}\n{GOOD}")
    for _ in range(2):
        _rank(bench, *words)
        told = _report(bench)
        counts = (told.get("lists"), told.get("unusable"), told.get("missing"))
        bench.expect(counts == (ROWS - 1, 1, 0), "silent", f"lists, unusable, missing: {counts}")
    reasons = (bench.folder / "out.unusable.jsonl").read_text()
    bench.expect(says in reasons, "message", f"no {says!r} in {reasons[:400]!r}")
    twice = [call for call, count in _calls(bench).items() if count > 1 and not call.startswith(ODD)]
    bench.expect(not twice, "lost", f"computed twice: {twice}")


def _harmless(bench: Bench, oddity: str, *words: str) -> None:
    """Six lists, as if nothing were odd, in time; and no second call."""
    _write(bench, f"{HEAD}    if row['id'] == '{ODD}':\n        {oddity}\n{GOOD}")
    for _ in range(2):
        _rank(bench, *words, seconds=25.0)
        told = _report(bench)
        bench.expect(told.get("lists") == ROWS, "silent", f"{told.get('lists')} lists")
    bench.expect(max(_calls(bench).values(), default=0) == 1, "lost", "computed twice")


SET_ASIDE: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "raises": ("raise ValueError('no such tool')", "score raised ValueError: no such tool", ()),
    "raises SystemExit": ("sys.exit('done')", "score raised SystemExit", ()),
    "raises an error that cannot be shown": (
        "raise type('Odd', (Exception,), {'__str__': lambda self: 1 / 0})()", "its message cannot be shown", ()
    ),
    "raises in a recursion without an end": ("f = lambda: f(); f()", "RecursionError", ()),
    "raises with a key in its message": (f"raise ValueError(os.environ['{SECRET_NAME}'])", "score raised", ()),
    "ends its process": ("os._exit(3)", "its process ended (3)", ()),
    "kills its process": ("os.kill(os.getpid(), 9)", "killed by SIGKILL", ()),
    "crashes its process": ("ctypes.string_at(0)", "killed by SIGSEGV", ()),
    "hangs asleep": ("time.sleep(99)", "took longer than timeout=2 seconds", ("judge.timeout=2",)),
    "hangs in C": ("ctypes.CDLL(None).pause()", "took longer than timeout=2 seconds", ("judge.timeout=2",)),
    "hangs and takes no signals": (
        "[signal.signal(n, signal.SIG_IGN) for n in (1, 2, 10, 12, 15)]; time.sleep(99)", "took longer",
        ("judge.timeout=2",),
    ),
    "gives NaN": ("return float('nan')", "gave nan, expected a finite number", ()),
    "gives a text": ("return '5'", "gave '5', expected a finite number", ()),
    "gives an integer of 400 digits": ("return 10 ** 400", "expected a finite number", ()),
    "gives a number of another world": ("return 1j", "gave 1j, expected a finite number", ()),
    "gives None for all": ("return None", "cannot say", ()),
    "closes all its files": ("os.closerange(0, 200)", "its process", ("judge.timeout=5",)),
    "writes noise to all its files": (
        "[os.write(n, b'\\xff{\\n') for n in range(40) if os.path.exists(f'/proc/self/fd/{n}') and n != 0]",
        "it wrote to the connection", ()
    ),
    "takes json's functions away": ("sys.modules['json'].dumps = None", "its process ended (1)", ()),
}  # fmt: skip
HARMLESS: dict[str, str] = {
    "prints 20 MB": "print('x' * 20_000_000)",
    "prints bytes that are no text": "sys.stdout.buffer.write(bytes(range(256)) * 99)",
    "reads its input": "sys.stdin.read()",
    "goes to another folder": "os.chdir('/')",
    "changes its row": "row.clear(); row['id'] = 7",
    "has no stdout left": "sys.stdout = sys.stderr = None",
    "leaves a process behind": "subprocess.Popen(['sleep', '99'])",
    "leaves a process that holds its files": "subprocess.Popen(['sleep', '99'], close_fds=False)",
    "leaves a thread behind": "threading.Thread(target=time.sleep, args=(99,)).start()",
}


def _every_row(bench: Bench) -> None:
    """No list came of it: no success."""
    _write(bench, f"{HEAD}    raise OSError('no tool')\n")
    _rank(bench, code=1, says=["no list came of", "no tool"])
    _write(bench, HEAD + GOOD)  # mended
    _rank(bench, code=[0, 5], says=["function"])


def _at_import(bench: Bench, source: str | bytes | None, says: str, words: tuple[str, ...]) -> None:
    """Told before anything is scored, in one line with what is wrong."""
    _write(bench, "")
    if source is None:
        (bench.folder / "my.py").unlink()
    else:
        (bench.folder / "my.py").write_bytes(source if isinstance(source, bytes) else source.encode())
    ended = _rank(bench, *words, code=1, says=[says, "function"], seconds=25.0)
    bench.expect(ended.output.count("error: ") == 1, "message", "more than one message")
    bench.expect(not (bench.folder / "out.jsonl").exists(), "silent", "lists were written")


AT_IMPORT: dict[str, tuple[str | bytes | None, str, tuple[str, ...]]] = {
    "no file": (None, "my.py: No such file", ()),
    "a syntax error": ("def score(:\n", "my.py:1", ()),
    "bytes that are no text": (b"\xff\xfe\x00", "my.py", ()),
    "a module that is not there": ("import nothing_of_that_name\n", "my.py:1: ModuleNotFoundError", ()),
    "an exit": ("import sys\nsys.exit(3)\n", "my.py:2: SystemExit: 3", ()),
    "the end of its process": ("import os\nos._exit(3)\n", "its process ended (3) while it was imported", ()),
    "a hang": ("import time\ntime.sleep(99)\n", "not imported within import_timeout=2", ("judge.import_timeout=2",)),
    "a number": ("score = 7\n", "expected a function, got int", ()),
    "other arguments": ("def score(question, text): return 1\n", "expected (prompt, answer, row)", ()),
    "a misspelt name": ("def scores(prompt, answer): return 1\n", "did you mean scores?", ()),
}


def _edited(bench: Bench, way: str) -> None:
    """Killed, edited, run again: values of two functions never stand in one file."""
    _write(bench, HEAD + "    time.sleep(0.1)\n" + GOOD)
    _killed(bench, signal.SIGKILL, 7)
    before = _calls(bench)
    if way == "removed":
        (bench.folder / "my.py").unlink()
        _rank(bench, code=1, says=["my.py: No such file"])
        _write(bench, HEAD + "    time.sleep(0.1)\n" + GOOD)
    else:
        _write(bench, HEAD + "    return -len(answer)\n")
        _rank(bench, code=5, says=["was collected with other settings", "rerank=true"])
        bench.expect(_calls(bench) == before, "lost", "the edited function was called")
        _rank(bench, "rerank=true")
    _rank(bench)
    rows = [json.loads(line) for line in (bench.folder / "out.jsonl").read_text().splitlines()]
    best = {max(row["responses"], key=lambda each: each["score"])["text"].count("word") for row in rows}
    bench.expect(len(rows) == ROWS and len(best) == 1, "silent", f"values of two functions: {best}")


def _edited_on_the_way(bench: Bench) -> None:
    """A worker that starts later would import another text: the run stops, what was scored stays."""
    body = f"{HEAD}    if row['id'] == '{ODD}':\n        os._exit(1)\n    time.sleep(0.2)\n{GOOD}"
    _write(bench, body)

    def during(process: int, output: Path) -> None:
        wait_for(lambda: _calls(bench))
        (bench.folder / "my.py").write_text(body + "\n# edited\n")

    _rank(bench, code=1, says=["was changed since it was first imported"], during=during)
    (bench.folder / "my.py").write_text(body)
    _rank(bench)
    twice = [call for call, count in _calls(bench).items() if count > 2 or (count > 1 and not call.startswith(ODD))]
    bench.expect(not twice, "lost", f"computed twice: {twice}")


def _killed(bench: Bench, number: int, calls: int, *words: str) -> None:
    def during(process: int, output: Path) -> None:
        wait_for(lambda: sum(_calls(bench).values()) >= calls)
        os.kill(process, number)

    codes = {signal.SIGKILL: [-9, 0], signal.SIGINT: [130, 0], signal.SIGTERM: [143, 0]}[signal.Signals(number)]
    _rank(bench, *words, code=codes, during=during)


def _goes_on(bench: Bench, number: int, calls: int, workers: int) -> None:
    """Killed behind so many calls: only a row in work is computed again, and the lists are the same."""
    _write(bench, HEAD + "    time.sleep(0.05)\n" + GOOD)
    _rank(bench, "output=whole.jsonl")
    (bench.folder / "calls.txt").unlink()
    _killed(bench, number, calls, f"judge.workers={workers}")
    _rank(bench, f"judge.workers={workers}")
    again = sum(count - 1 for count in _calls(bench).values())
    bench.expect(again <= workers * ANSWERS, "lost", f"{again} values were computed twice, with {workers} workers")
    bench.expect(len(_calls(bench)) == ROWS * ANSWERS, "silent", "not all was scored")
    same = [*files_of(bench.folder, "out.jsonl").values()] == [*files_of(bench.folder, "whole.jsonl").values()]
    bench.expect(same, "silent", "other lists than those of a run that was never killed")


def _changes(bench: Bench) -> None:
    """A function that draws lots: what it said first is what counts, however often the command is given."""
    _write(bench, HEAD + "    import random\n    return random.random()\n")
    _rank(bench)
    first = (bench.folder / "out.jsonl").read_bytes()
    (bench.folder / "out.jsonl").unlink()
    _rank(bench)
    bench.expect((bench.folder / "out.jsonl").read_bytes() == first, "silent", "other values by the same command")
    bench.expect(max(_calls(bench).values()) == 1, "lost", "computed twice")


def _lists(bench: Bench, body: str, says: str) -> None:
    """A function of all answers of a list that gives something else than a number for each."""
    _write(
        bench,
        f"def score(prompt, answers, row):\n    if row['id'] == '{ODD}':\n        {body}\n"
        "    return [*map(len, answers)]\n",
    )
    _rank(bench)
    told = _report(bench)
    bench.expect((told["lists"], told["unusable"]) == (ROWS - 1, 1), "silent", f"counts: {told['lists']}")
    bench.expect(says in (bench.folder / "out.unusable.jsonl").read_text(), "message", f"no {says!r}")


WHOLE_LISTS = {
    "a value too few": ("return [1.0] * (len(answers) - 1)", "gave 2 values for 3 answers"),
    "a number": ("return 5", "expected a list of 3 numbers"),
    "a text": ("return 'abc'", "expected a list of 3 numbers"),
    "NaN among them": ("return [1.0, float('nan'), 2.0]", "gave nan"),
    "a generator": ("return (1.0 for _ in answers)", "expected a list of 3 numbers"),
}


def _measured(bench: Bench, fault: str, says: str) -> None:
    """benchmark=function: a question whose answer cannot be scored is counted, and the same command asks for it."""
    _write(bench, f"{HEAD}    if row['id'] == '{ODD}':\n        {fault}\n{GOOD}")
    write_rows(bench.folder / "answers.jsonl", [{"id": f"q{n}", "output": "a b c"} for n in range(ROWS)])
    words = ["benchmark=function", "benchmark.function=my.py:score", "benchmark.questions=in.jsonl",
             "benchmark.workers=1", "benchmark.timeout=2", "answers=answers.jsonl"]  # fmt: skip
    for _ in range(2):
        bench.run("evaluate", *words, says=[says])
    twice = [call for call, count in _calls(bench).items() if count > 1 and not call.startswith(ODD)]
    bench.expect(not twice, "lost", f"computed twice: {twice}")
    [path] = bench.folder.glob("results/*/*/results.json")
    bench.expect(json.loads(path.read_text())["status"] == "incomplete", "silent", "said to be finished")


def _trials() -> Iterator[Trial]:
    def trial(name: str, run: Callable[[Bench], object]) -> Trial:
        return Trial(KIND, name, run, sample=name == "one row: raises")

    for name, (fault, says, words) in SET_ASIDE.items():
        yield trial(f"one row: {name}", partial(_set_aside, fault=fault, says=says, words=words))
    for name, oddity in HARMLESS.items():
        yield trial(f"one row: {name}", partial(_harmless, oddity=oddity))
    yield trial("every row: raises", _every_row)
    for name, (source, says, words) in AT_IMPORT.items():
        yield trial(f"at import: {name}", partial(_at_import, source=source, says=says, words=words))
    for name, (body, says) in WHOLE_LISTS.items():
        yield trial(f"of a whole list: {name}", partial(_lists, body=body, says=says))
    for way in ("edited", "removed"):
        yield trial(f"{way} between kill and resume", partial(_edited, way=way))
    yield trial("edited while it runs", _edited_on_the_way)
    yield trial("draws lots", _changes)
    for number, calls, workers in (
        (signal.SIGKILL, 8, 1), (signal.SIGKILL, 9, 3), (signal.SIGINT, 5, 1), (signal.SIGTERM, 9, 3),
    ):  # fmt: skip
        run = partial(_goes_on, number=number, calls=calls, workers=workers)
        yield trial(f"{number.name} behind {calls} values, {workers} at work", run)
    for name, fault in (("raises", "raise ValueError('no')"), ("hangs", "time.sleep(99)"), ("dies", "os._exit(1)")):
        yield trial(f"as a benchmark, one question: {name}", partial(_measured, fault=fault, says="5 of 6"))


TRIALS = [*_trials()]
