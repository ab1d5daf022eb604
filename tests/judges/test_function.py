"""Functions as judges: what they may give, what sets a row aside, what is refused at once, what is never run twice."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.inference.make import collect, collect_nothing, read_rows, write_rows
from tuna.data.record import Record
from tuna.errors import ConfigError
from tuna.inference.answers import Answer
from tuna.inference.context import Context
from tuna.inference.cost import Budget, Prices
from tuna.inference.store import Store
from tuna.judges.base import Case, NoRuling, Pair, Ruling
from tuna.judges.function import FunctionJudge, Functions, Scored

ROOT = Path(__file__).parents[2]
ROW = Record("7", "Add 2 and 3.", "In words.", output="five", extra={"level": [1, {"a": None}]})


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    with Store(tmp_path / "store") as store:
        yield Context(store, Budget(store.journal("requests")), Prices())


def write(folder: Path, text: str, name: str = "mine.py") -> str:
    (folder / name).write_text(text)
    return f"{folder / name}:score"


def ends(pid: int) -> bool:
    """Whether a process has ended, or does within half a minute."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


def totals(scored: Sequence[Scored]) -> list[list[float | None]]:
    assert [each.fault for each in scored] == [None] * len(scored)
    return [list(each.totals) for each in scored]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def score(prompt, answer, row): return len(answer)", [1, 2]),
        ("def score(row, answer, *, more=3): return answer == 'b' * 2 and row['output'] == 'five'", [0, 1]),
        ("def score(prompt, answers, row): return [None if len(a) > 1 else 0.5 for a in answers]", [0.5, None]),
        ("def score(answers, **rest): return None", [None, None]),
        ("async def score(prompt, answer, row): return len(answer) * 2", [2, 4]),
        ("async def score(prompt, answers, row): return tuple(map(len, answers))", [1, 2]),
        ("import numpy as np\ndef score(answers, row): return np.array([1, 2], np.float32)", [1, 2]),
        ("from fractions import Fraction\ndef score(answer): return Fraction(len(answer), 2)", [0.5, 1]),
        ("class Own:\n  def __call__(self, answer): return len(answer)\nscore = Own()", [1, 2]),
        ("import functools\n@functools.cache\ndef score(prompt, answer): return len(answer)", [1, 2]),
    ],
)
def test_what_a_function_may_be(tmp_path: Path, context: Context, text: str, expected: list[float | None]) -> None:
    assert totals(Functions(write(tmp_path, text)).score([(ROW, ["a", "bb"])], context)) == [expected]


IMPORTS = {  # a file, and what it or one that it imports says of another file of the user's
    "rules.py": "from rules import length",
    "rules/__init__.py": "import rules",
    "rules/long.py": "from rules import long",
    "rules/long/__init__.py": "import rules.long as long, os",
    "deep.py": "from near import deep",
    "late.py": "def late():\n    import late, broken, fractions\n    from ................ import far",
    "sub/there.py": "import sub.here",
}


@pytest.mark.parametrize("name", IMPORTS)
def test_a_changed_file_that_it_imports_is_another_function(tmp_path: Path, name: str) -> None:
    for beside in ("near.py", "sub/here.py", "rules/__init__.py", "rules/unused.py", name):
        if beside != "rules/__init__.py" or name != "rules.py":
            (tmp_path / beside).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / beside).write_text("length = len\n")
    (tmp_path / "broken.py").write_text("import (\n")
    (tmp_path / "near.py").write_text("import deep\n" if name == "deep.py" else "")
    (tmp_path / "sub/here.py").write_text("from .there import length\n" if name == "sub/there.py" else "")
    typed = write(tmp_path, f"{IMPORTS[name]}\ndef score(answer): return len(answer)\n")
    before = Functions(typed).identity()
    assert before == Functions(typed).identity()
    (tmp_path / "rules").mkdir(exist_ok=True)
    (tmp_path / "rules/unused.py").write_text("# changed\n")
    assert before == Functions(typed).identity()
    with (tmp_path / name).open("a") as file:
        file.write("# changed\n")
    assert before != Functions(typed).identity()


def test_it_is_given_what_a_person_reads_and_a_row_of_its_own(tmp_path: Path, context: Context) -> None:
    text = """
import json, pathlib
def score(prompt, answer, row):
    file = pathlib.Path(__file__).with_name("seen")
    with file.open("a") as out:
        print(json.dumps([prompt, answer, row]), file=out)
    row.clear()
    return 0
"""
    turns = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "And?"})
    chat = Record("8", "And?", messages=turns)
    Functions(write(tmp_path, text), workers=1).score([(ROW, ["x", "y"]), (chat, ["z"])], context)
    row = {"id": "7", "instruction": "Add 2 and 3.", "input": "In words.", "output": "five", "level": [1, {"a": None}]}
    asked = "Add 2 and 3.\n\nIn words."
    other = {"id": "8", "instruction": "And?", "input": "", "output": None, "messages": list(turns)}
    seen: list[Any] = list(read_rows(tmp_path / "seen"))
    assert seen == [[asked, "x", row], [asked, "y", row], ["System: Be brief.\n\nUser: And?", "z", other]]


FAULTS = {
    "raise ValueError('no\\nnumber')": r"mine\.py:3: score raised ValueError: no number$",
    "import sys; sys.exit('enough')": r"mine\.py:3: score raised SystemExit: enough$",
    "raise KeyboardInterrupt": r"score raised KeyboardInterrupt$",
    "return (lambda f: f(f))(lambda f: f(f))": r"mine\.py:3: score raised RecursionError: ",
    "return eval('1 +')": r"mine\.py:3: score raised SyntaxError: ",
    "import os; os._exit(3)": r"mine\.py:score: its process ended \(3\)$",
    "import os; [os.write(n, b'\\xff\\n') for n in range(3, 4096) if os.path.exists(f'/proc/self/fd/{n}')]": (
        r"mine\.py:score: it wrote to the connection on which its values are told$"
    ),
    "import os; os.kill(os.getpid(), 9)": r"mine\.py:score: its process was killed by SIGKILL$",
    "import os; os.closerange(3, 4096)": r"mine\.py:score: its process",
    "return float('nan')": r"mine\.py:score gave nan, expected a finite number or None$",
    "return -1e999": r"gave -inf, expected",
    "return 10 ** 400": r"gave 1000.*, expected",
    "return 'good'": r"gave 'good', expected",
    "return [1.0]": r"gave \[1\.0\], expected",
    "return 1j": r"gave 1j, expected",
    "return print": r"gave <built-in function print>, expected",
    "import time; print('x' * 9, flush=True); time.sleep(99)": r"mine\.py:score: took longer than timeout=2 sec",
}


@pytest.mark.parametrize("line", FAULTS)
def test_a_fault_sets_its_row_aside_alone(
    tmp_path: Path, context: Context, capfd: pytest.CaptureFixture[str], line: str
) -> None:
    typed = write(tmp_path, f"def score(answer):\n    if answer != 'bad': return len(answer)\n    {line}\n")
    timeout = 2 if "sleep" in line else 60
    rows = [(Record("1", "P"), ["a", "bb"]), (Record("2", "Q"), ["a", "bad", "b"]), (Record("3", "R"), ["ccc"])]
    first, second, third = Functions(typed, workers=1, timeout=timeout).score(rows, context)
    assert (first.totals, third.totals) == ([1, 2], [3])
    assert second.fault is not None and second.asked
    with pytest.raises(AssertionError, match=FAULTS[line]):
        raise AssertionError(second.fault.reason)
    assert "\n" not in second.fault.reason and context.stopped is None
    raw = "\n".join(second.fault.raw)
    assert ("raised" in second.fault.reason) == ("Traceback" in raw and "answer: bad" in raw)
    assert "worker.py" not in raw or "process" in second.fault.reason or "sleep" in line
    if "sleep" in line:  # where it hung, and what it printed
        assert "xxxxxxxxx" in raw and 'mine.py", line 3 in score' in raw
    assert "Traceback" not in "".join(capfd.readouterr())


def test_where_a_function_hung_is_read_to_its_end(
    tmp_path: Path, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = os.read
    monkeypatch.setattr(os, "read", lambda file, most: read(file, 1))  # the traceback comes in pieces
    typed = write(tmp_path, "def score(answer):\n    import time\n    time.sleep(99)\n")
    (mark,) = Functions(typed, workers=1, timeout=1).score([(ROW, ["x"])], context)
    assert mark.fault is not None
    raw = "\n".join(mark.fault.raw)
    assert 'mine.py", line 3 in score' in raw and raw.endswith(" in <module>\n")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("[1]", "gave 1 values for 2 answers"),
        ("[1, 2, 3]", "gave 3 values for 2 answers"),
        ("[1, 'x']", "gave 'x', expected a finite number or None"),
        ("{'a': 1, 'b': 2}", "expected a list of 2 numbers"),
        ("'ab'", "expected a list of 2 numbers"),
        ("1.0", "expected a list of 2 numbers"),
        ("(x for x in (1, 2))", "expected a list of 2 numbers"),
    ],
)
def test_lists_of_another_shape(tmp_path: Path, context: Context, given: str, reason: str) -> None:
    typed = write(tmp_path, f"def score(answers): return {given}")
    (scored,) = Functions(typed).score([(ROW, ["a", "b"])], context)
    assert scored.fault is not None and reason in scored.fault.reason


def test_async_answers_run_at_once_and_the_first_fault_ends_them(tmp_path: Path, context: Context) -> None:
    text = """
import asyncio
async def score(prompt, answer):
    await asyncio.sleep({"bad": 0.2, "slow": 99}.get(answer, 1))
    if answer == "bad":
        raise OSError("refused")
    return len(answer)
"""
    function = Functions(write(tmp_path, text), workers=1, timeout=40)
    start = time.monotonic()
    bad, good = function.score([(ROW, ["a", "bad", "slow"]), (Record("8", "R"), ["a"] * 50 + ["bb"])], context)
    assert bad.fault is not None and "answer: bad" in bad.fault.raw and "OSError: refused" in bad.fault.raw[1]
    assert "asyncio" not in bad.fault.raw[1] and good.totals == [1] * 50 + [2]
    assert time.monotonic() - start < 35


def test_what_a_function_prints_stays_out_of_sight_and_is_kept_where_it_fails(
    tmp_path: Path, context: Context, capfd: pytest.CaptureFixture[str]
) -> None:
    text = """
import os, sys
def score(answer):
    os.system("echo from a child")
    for _ in range(200):
        print("x" * 100_000)
    print("the end", file=sys.stderr)
    assert sys.stdin.read() == ""
    assert answer != "bad"
    return 1
"""
    good, bad = Functions(write(tmp_path, text)).score([(ROW, ["a"]), (Record("8", "R"), ["bad"])], context)
    assert good.totals == [1] and bad.fault is not None
    assert bad.fault.raw[-1].endswith("the end\n") and len(bad.fault.raw[-1]) < 5_000
    shown = "".join(capfd.readouterr())
    assert "xxx" not in shown and "the end" not in shown and "child" not in shown


def test_a_worker_killed_from_outside_is_replaced_and_nothing_outlives_the_run(
    tmp_path: Path, context: Context
) -> None:
    text = """
import os, pathlib, subprocess, time
def score(answer):
    if answer == "mark":
        child = subprocess.Popen(["sleep", "300"])
        pathlib.Path(__file__).with_name("pids").write_text(f"{os.getpid()} {child.pid}")
        time.sleep(300)
    return len(answer)
"""
    typed = write(tmp_path, text)
    pids = tmp_path / "pids"
    if (killer := os.fork()) == 0:  # it kills the worker, not its child
        while not pids.exists() or not pids.read_text():
            time.sleep(0.02)
        os.kill(int(pids.read_text().split()[0]), signal.SIGKILL)
        os._exit(0)
    rows = [(Record(str(n), f"Q{n}"), ["mark" if n == 2 else "a"]) for n in range(6)]
    scored = Functions(typed, workers=2).score(rows, context)
    os.waitpid(killer, 0)
    fault = scored[2].fault
    assert fault is not None and fault.reason.endswith("its process was killed by SIGKILL")
    assert [each.totals for n, each in enumerate(scored) if n != 2] == [[1]] * 5
    assert all(map(ends, map(int, pids.read_text().split())))


REFUSED = {
    "": r"mine\.py: it has no score$",
    "def skore(answer): return 1": r"mine\.py: it has no score; did you mean skore\?$",
    "score = 3": r"mine\.py: score: expected a function, got int$",
    "\ndef score(text): return 1": r"mine\.py:2: score: expected \(prompt, answer, row\), or .* got \(text\)$",
    "def score(p, a, r): return 1": r"mine\.py:1: score: expected .*, got \(p, a, r\)$",
    "def score(answer, answers): return 1": r"got \(answer, answers\)$",
    "def score(prompt, row): return 1": r"got \(prompt, row\)$",
    "def score(answer, /): return 1": r"got \(answer, /\)$",
    "def score(*args): return 1": r"got \(\*args\)$",
    "score = dict.fromkeys": r"mine\.py: score: expected ",
    "\n\ndef score(answer) return 1": r"mine\.py:3: SyntaxError: ",
    "import os\nraise RuntimeError('two\\nlines')": r"mine\.py:2: RuntimeError: two lines$",
    "import not_there_at_all": r"mine\.py:1: ModuleNotFoundError: No module named 'not_there_at_all'$",
    "import json\njson.loads('{')": r"mine\.py:2: JSONDecodeError: ",
    "import sys\nsys.exit(2)": r"mine\.py:2: SystemExit: 2$",
    "import os; os._exit(4)": r"mine\.py:score: its process ended \(4\) while it was imported$",
    "import time; time.sleep(99)": r"mine\.py:score: not imported within import_timeout=1 seconds$",
    "\0": r"mine\.py",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_cannot_be_used_is_refused_at_once(tmp_path: Path, text: str) -> None:
    patience = 1 if "sleep" in text else 30
    with pytest.raises(ConfigError, match="^function: .*" + REFUSED[text]) as error:
        Functions(write(tmp_path, text), import_timeout=patience)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, r"function: missing; give judge\.function=PATH\.py:NAME"),
        ({"function": []}, "function: missing"),
        ({"function": "mine.py"}, r"function: expected PATH\.py:NAME or package\.module:NAME, got 'mine\.py'"),
        ({"function": "nowhere/mine.py:score"}, r"function: nowhere/mine\.py: No such file or directory"),
        ({"function": "not_there.at_all:f"}, "function: not_there.at_all: ModuleNotFoundError"),
        ({"function": "math:sqrt"}, r"function: .*math.*: sqrt: expected \(prompt, answer, row\)"),
        ({"function": ["a.py:f", "b.py:g"], "weights": [1]}, r"weights: expected 2 numbers, one per function, got"),
        ({"function": "a.py:f", "weights": [float("inf")]}, "weights: expected 1 numbers"),
        ({"function": {"a.py:f": "x"}}, "weights: expected 1 numbers"),
        ({"function": {"a.py:f": 1}, "weights": [1]}, "weights: expected none beside a mapping"),
        ({"function": 3}, "function: expected text"),
        ({"function": "a.py:f", "workers": 0}, "workers: expected"),
        ({"function": "a.py:f", "timeout": 0}, "timeout: expected above 0"),
    ],
)
def test_keys_that_are_wrong(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FunctionJudge(**keys)


def test_several_with_weights_and_one_that_cannot_say(tmp_path: Path, context: Context) -> None:
    (tmp_path / "beside.py").write_text("def length(text): return len(text)\n")
    one = write(tmp_path, "from beside import length\ndef score(answer): return length(answer)", "one.py")
    two = write(tmp_path, "def score(answers): return [None if a == 'zz' else -1 for a in answers]", "two.py")
    for given in ({"function": [one, two], "weights": [2, 0.5]}, {"function": {one: 2, two: 0.5}}):
        judge = FunctionJudge(**given)
        answers = [Answer(text) for text in ("a", "zz", "ccc")]
        ruling, none = judge.judge([Case(ROW, answers), Case(ROW, answers[:2])], context)
        assert isinstance(ruling, Ruling) and isinstance(none, NoRuling)
        assert ruling.levels == [1, None, 0] and ruling.marks == [1.5, None, 5.5]
        assert ruling.notes == {"functions": ["one.py:score", "two.py:score"], "values": [[1, 2, 3], [-1, None, -1]]}
        assert none.reason == "the function cannot say (None) of 1 of 2 answers" and none.asked
        assert judge.identity()["weights"] == [2, 0.5] and judge.can_judge(ROW)


def test_pairs_by_the_sign_of_the_difference(tmp_path: Path, context: Context) -> None:
    typed = write(tmp_path, "def score(answer): return {'bad': [], 'none': None}.get(answer, len(answer))")
    pairs = [Pair(ROW, *texts) for texts in (("aa", "b"), ("b", "aa"), ("a", "b"), ("a", "none"), ("a", "bad"))]
    found = FunctionJudge(typed).compare(pairs, context)
    assert [each.verdicts for each in found] == [(1, 1), (-1, -1), (0, 0), (None, None), (None, None)]
    assert found[3].reason == "the function cannot say (None)" and "gave []" in found[4].reason
    assert len(context.store.journal("scores")) == 4  # aa, b, a, none: each once


def counting(folder: Path, more: str = "") -> str:
    """A function that writes down what it is asked."""
    text = f"""
import os, pathlib
def score(prompt, answer):
    with pathlib.Path({str(folder / "calls")!r}).open("a") as out:
        out.write(f"{{prompt}} {{answer}}\\n")
    {more}
    return len(answer)
"""
    return write(folder, text)


def calls(folder: Path) -> list[str]:
    lines = (folder / "calls").read_text().splitlines()
    (folder / "calls").write_text("")
    return sorted(lines)


def test_nothing_is_run_twice_but_what_failed_and_what_changed(tmp_path: Path, context: Context) -> None:
    rows = [(Record("1", "P"), ["a", "bb", "a"]), (Record("2", "Q"), ["x", "bad", "y"])]
    typed = counting(tmp_path, "assert answer != 'bad'")
    first = Functions(typed).score(rows, context)
    assert first[0].totals == [1, 2, 1] and first[1].fault is not None
    assert calls(tmp_path) == ["P a", "P bb", "Q bad", "Q x"]
    assert Functions(typed, workers=1, timeout=5).score(rows, context)[0] == first[0]
    assert calls(tmp_path) == ["Q bad"]
    changed = counting(tmp_path, "# changed")
    assert totals(Functions(changed).score(rows, context)) == [[1, 2, 1], [1, 3, 1]]
    assert calls(tmp_path) == ["P a", "P bb", "Q bad", "Q x", "Q y"]
    moved = [(Record("1", "P", extra={"x": 1}), ["a"])]
    Functions(changed).score(moved, context)
    assert calls(tmp_path) == ["P a"]


def test_a_file_that_changes_meanwhile_stops_the_run_and_loses_nothing(tmp_path: Path, context: Context) -> None:
    change = "if answer == 'go':\n        pathlib.Path(__file__).write_text('# nothing'); os._exit(1)"
    typed = counting(tmp_path, change)
    rows = [(Record(str(n), "P"), [answer]) for n, answer in enumerate(["a", "go", "bb"])]
    first, second, third = Functions(typed, workers=1).score(rows, context)
    assert first.totals == [1] and second.fault is not None and second.asked and not third.asked
    assert "it has no score; it could be imported before" in str(context.stopped)


def test_rank_py_sets_aside_counts_and_goes_on(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rows = [{"id": f"q{n}", "instruction": f"Q{n}", "responses": [{"text": "a"}, {"text": "bb"}]} for n in range(3)]
    rows[1]["responses"] = [{"text": "a"}, {"text": "bad"}]
    source = write_rows(tmp_path / "in.jsonl", rows)
    typed = counting(tmp_path, "print('hidden'); assert answer != 'bad', 'too bad'")
    words = ["judge=function", f"judge.function={typed}", "score_only=true"]
    figures = collect(tmp_path, source, *words)
    assert (figures["lists"], figures["unusable"], figures["missing"]) == (2, 1, 0)
    (aside,) = read_rows(tmp_path / "out.unusable.jsonl")
    assert aside["reason"].endswith("score raised AssertionError: too bad")
    answer, trace, printed = aside["raw"]
    assert answer == "answer: bad" and "Traceback" in trace and printed == "printed: hidden\nhidden\n"
    best = read_rows(tmp_path / "out.jsonl")[0]
    assert [(r["text"], r["judge_score"]) for r in best["responses"]] == [("bb", 2.0), ("a", 1.0)]
    out = "".join(capfd.readouterr())
    assert "hidden" not in out and "Traceback" not in out and "unusable: 1 (most often" in out
    calls(tmp_path)
    assert collect(tmp_path, source, *words)["lists"] == 2 and calls(tmp_path) == ["Q1 bad"]
    typed = counting(tmp_path, "return None")
    report = collect_nothing(tmp_path, source, *words, rerank=True)
    assert report["unusable"] == 3 and len(calls(tmp_path)) == 6


def test_a_killed_command_goes_on_and_leaves_no_process(tmp_path: Path) -> None:
    answers = [{"text": "a" * k} for k in range(1, 5)]
    rows = [{"id": f"q{n}", "instruction": f"Q{n}", "responses": answers} for n in range(20)]
    source = write_rows(tmp_path / "in.jsonl", rows)
    text = """here = pathlib.Path(__file__).parent
    (here / f"pid{os.getpid()}").touch()
    __import__("time").sleep(0.2 * (here / "slow").exists())"""
    (tmp_path / "slow").touch()
    words = ["judge=function", f"judge.function={counting(tmp_path, text)}", "score_only=true"]
    said = tmp_path / "calls"
    command = [sys.executable, str(ROOT / "rank.py"), f"input={source}", f"output={tmp_path / 'out.jsonl'}", *words]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while running.poll() is None and not (said.exists() and len(said.read_text().splitlines()) >= 30):
        time.sleep(0.01)
    running.kill()
    assert running.wait() == -signal.SIGKILL
    workers = [int(path.name[3:]) for path in tmp_path.glob("pid*")]
    assert len(workers) == 2 and all(map(ends, workers))
    (tmp_path / "slow").unlink()
    assert collect(tmp_path, source, *words)["lists"] == 20
    before = calls(tmp_path)
    twice = len(before) - len(set(before))
    assert len(set(before)) == 80 and twice <= 2 * 4  # what was under way in two workers
    whole = tmp_path / "whole"
    whole.mkdir()
    collect(whole, source, *words)
    assert (whole / "out.jsonl").read_bytes() == (tmp_path / "out.jsonl").read_bytes()
