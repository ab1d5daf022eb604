"""reproduce.py, rounds and sweeps: killed at any moment, results damaged between two commands, steps that fail.

The pipelines are real: they sample, rank, tune and measure the embedded model on a handful of instructions. Each step
runs in a fork of reproduce.py's own process in place of a new Python.
"""

import atexit
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from perf.faults.base import Bench, Ended, Trial, wait_for, write_rows
from tests.training.make import overrides, write_lists, write_model

PAPER, ROUNDS, SWEEPS = "reproduce.py", "rounds", "sweeps"
RUN = "trainer.max_steps=2 datamodule.batch_size=4 datamodule.held_out=0 evaluate=false logger=none scale=tiny"
STEPS = {
    "lists": "rank.py input=in.jsonl ranker.n=2 sampler.max_tokens=6 sampler.trials=0 judge=baseline judge.by=longest"
    " model=tiny",
    "tuned": f"train.py stage=tuna_c model.path=tiny datamodule.path={{lists}} {RUN}",
    "measured": "evaluate.py limit=4 benchmark.max_tokens=6 model.path={tuned}",
    "report": "report.py",
}
ROUND = {
    "lists": STEPS["lists"].replace("model=tiny", "model.path={current}") + " first={until} last={rest}",
    "tuned": f"train.py stage=tuna_c model.path={{current}} datamodule.path={{lists}} {RUN}",
    "measured": STEPS["measured"],
}
# What each step leaves behind, in the order in which they are run.
MADE = {
    "lists": "rankings/s0-lists.jsonl",
    "tuned": "runs/s0-tuned",
    "measured": "results/s0-measured",
    "report": "report",
}


def _reproduce(bench: Bench, *words: str, **expected: Any) -> Ended:
    conf = bench.folder / "mine"
    if not conf.exists():
        (conf / "pipeline").mkdir(parents=True)
        (conf / "sizes").mkdir()
        (conf / "pipeline" / "small.yaml").write_text(json.dumps({"name": "small", "steps": STEPS, "systems": []}))
        rounds = {
            "name": "rounds", "rounds": 2, "each_round": ROUND, "current": "tuned",
            "measure": ["start_measured", "measured"], "once": ["start_measured"],
            "steps": {
                "start_measured": STEPS["measured"].replace("{tuned}", "tiny"), "report": "report.py rounds={book}",
            },
            "rows": {"Start": [None, "start_measured"], "Round {round}": ["tuned", "measured"]},
        }  # fmt: skip
        (conf / "pipeline" / "few.yaml").write_text(json.dumps(rounds))
        (conf / "sizes" / "small.yaml").write_text(json.dumps({"name": "x", "start": "tiny", "all": 16, "first": 8}))
        rows = [{"id": str(n), "instruction": f"Name {n} animals.", "output": "a cat"} for n in range(16)]
        write_rows(bench.folder / "in.jsonl", rows)
    fixed = ["--config-dir", "mine", "pipeline=small", "sizes=small", "jobs=1"]
    if "pipeline=few" in words:
        fixed.remove("pipeline=small")
    return bench.run("reproduce", *fixed, *words, **{"seconds": 200.0, **expected})


def _folder(bench: Bench) -> Path:
    return next((bench.folder / "reproduce").glob("x*"))


def _state(bench: Bench) -> dict[str, Any]:
    path = next((bench.folder / "reproduce").glob("x*/steps.json"), None)
    return json.loads(path.read_text()) if path else {}


def _figures(bench: Bench) -> list[Any]:
    """What all results say, by their step."""
    found = []
    for path in sorted(_folder(bench).glob("results/*/*/*/results.json")):
        results = json.loads(path.read_text())
        found.append((path.parts[-4], results["status"], results["scores"]))
    return found


@cache
def _made(*words: str) -> tuple[Path, list[Any]]:
    """A folder with a finished pipeline, made once for all trials, and what its results say."""
    folder = Path(mkdtemp(prefix="tuna-faults-made-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    bench = Bench(folder / "made")
    bench.folder.mkdir()
    _reproduce(bench, *words)
    found = _figures(bench)
    assert found and not bench.found, bench.found
    return bench.folder, found


def _whole(*words: str) -> list[Any]:
    """The results of a pipeline that nothing happens to."""
    return _made(*words)[1]


def _done(bench: Bench, *words: str) -> list[Any]:
    """Copy a finished pipeline to where the trial works; what its results say."""
    folder, found = _made(*words)
    shutil.copytree(folder, bench.folder, dirs_exist_ok=True)
    return found


def _killed(bench: Bench, number: int, step: str, when: str, words: tuple[str, ...] = ()) -> None:
    """Killed at a step; the same command does the rest, nothing that was finished again, to the same figures."""
    whole = _whole(*words)

    def log() -> str:
        found = [*bench.folder.glob(f"reproduce/x*/logs/s0-{step}.log")]
        return found[0].read_text() if found else ""

    def during(process: int, output: Path) -> None:
        marks = {"begins": lambda: output.exists() and f"s0-{step}:" in output.read_text(),
                 "is at work": lambda: log().count("\n") > 2,
                 "is done": lambda: f"s0-{step}" in _state(bench)}  # fmt: skip
        wait_for(marks[when])
        os.kill(process, number)

    ended = _reproduce(bench, *words, code=[{9: -9, 2: 130, 15: 143}[number], 0], during=during)
    done = {name: known for name, known in _state(bench).items() if known["status"] == "finished"}
    if ended.code:
        _reproduce(bench, *words)
        after = _state(bench)
        again = [name for name in done if after[name]["ended"] != done[name]["ended"] and "report" not in name]
        bench.expect(not again, "lost", f"done twice: {again}")
    bench.expect(_figures(bench) == whole, "silent", f"{_figures(bench)} in place of {whole}")


def _output_gone(bench: Bench, step: str, how: str) -> None:
    """What a step made is removed, or a part of it: the same command makes it anew, and what was made of it."""
    whole, made = _done(bench), _folder(bench) / MADE[step]
    if how == "removed":
        shutil.rmtree(made) if made.is_dir() else made.unlink()
    elif how == "cut":
        made.write_bytes(made.read_bytes()[:-40])
    elif how == "a line less":
        made.write_bytes(made.read_bytes().partition(b"\n")[2])
        shutil.rmtree(_folder(bench) / MADE["tuned"])
    elif how == "without its model":
        shutil.rmtree(made / "model")
    elif how == "without its results":
        next(made.glob("*/*/results.json")).unlink()
    elif how == "without its weights":
        (made / "model" / "model.safetensors").unlink()
    ended = _reproduce(bench, code=[0, 1])
    if ended.code:
        bench.expect("error: " in ended.output and made.name in ended.output, "message", ended.output[-400:])
        bench.expect(
            "move it away" in ended.output or "next: " in ended.output.lower(), "message", "no way out is told"
        )
        return
    bench.expect(how not in ("cut", "a line less"), "silent", "the changed file is not named")
    bench.expect(_figures(bench) == whole, "silent", f"{_figures(bench)} in place of {whole}")


def _fails(bench: Bench, step: str) -> None:
    """A step fails: it is named with its log and what it said; the rest that does not need it is done."""
    whole = _whole()
    made = bench.folder / "reproduce" / "x-small" / MADE[step]
    made.parent.mkdir(parents=True)
    made.write_text("mine")
    ended = _reproduce(
        bench, code=1, says=["1 of 4 steps failed", f"s0-{step}", "The same command runs what is missing"]
    )
    bench.expect("error: " in ended.output, "message", ended.output[-300:])
    made.unlink()
    _reproduce(bench)
    bench.expect(_figures(bench) == whole, "silent", f"{_figures(bench)} in place of {whole}")


def _two_at_once(bench: Bench) -> None:
    def during(process: int, output: Path) -> None:
        wait_for(lambda: any(bench.folder.glob("reproduce/x*/logs/s0-lists.log")))
        other = Bench(bench.folder)
        _reproduce(other, code=1, says=["another process is working"])
        bench.found += other.found

    _reproduce(bench, during=during)


STATES: dict[str, bytes] = {
    "half of it": b'{"s0-lists": {"comm', "a list": b"[]", "bytes that are no text": b"\xff",
    "a step that is a text": b'{"s0-lists": "done"}', "a step without a time": b'{"s0-lists": {"status": "finished"}}',
    "a time that is NaN": b'{"s0-lists": {"ended": NaN}}', "a time beyond all": b'{"s0-lists": {"ended": 1e999}}',
    "nesting without an end": b"[" * 100_000,
}  # fmt: skip


def _state_damaged(bench: Bench, content: bytes, name: str = "steps.json") -> None:
    """The file is named; moved away, everything is found done by its own files, and comes to the same figures."""
    whole = _done(bench)
    path = _folder(bench) / name
    path.write_bytes(content)
    ended = _reproduce(bench, code=[0, 1])
    if ended.code:
        bench.expect(name in ended.output and "move" in ended.output, "message", ended.output[-300:])
        path.rename(bench.folder / "aside.json")
        _reproduce(bench)
    lines = (_folder(bench) / "rankings" / "s0-lists.store" / "answers.jsonl").read_bytes().count(b"\n")
    bench.expect(lines == 16, "lost", f"{lines} answers were drawn, of 16")
    bench.expect(_figures(bench) == whole, "silent", f"{_figures(bench)} in place of {whole}")


# Rounds


def _between(bench: Bench, what: str) -> None:
    """One round is done, then something is changed, then the second is asked for."""
    words = ("pipeline=few", "rounds_patience=2")
    _done(bench, *words, "rounds=1")
    folder = _folder(bench)
    [result] = folder.glob("results/s0-measured_1/*/*/results.json")
    before = json.loads(result.read_text())
    if what == "the measure cut":
        result.write_text(json.dumps(before)[:60])
    elif what == "the measure without its figure":
        result.write_text(json.dumps(before | {"scores": {}}))
    elif what == "the measure a text":
        result.write_text(json.dumps(before | {"scores": {before["primary"]: "good"}}))
    elif what == "the measure NaN":
        result.write_text(json.dumps(before).replace('"accuracy": ', '"accuracy": NaN, "old": ', 1))
    elif what == "the measure removed":
        shutil.rmtree(folder / "results" / "s0-measured_1")
    elif what == "the model's weights removed":
        (folder / "runs/s0-tuned_1/model/model.safetensors").unlink()
    elif what == "the model's run removed":
        shutil.rmtree(folder / "runs/s0-tuned_1")
    elif what == "the lists removed":
        (folder / "rankings/s0-lists_1.jsonl").unlink()
    elif what == "the book removed":
        (folder / "rounds.json").unlink()
    elif what == "the book cut":
        (folder / "rounds.json").write_text("{")
    ended = _reproduce(bench, *words, "rounds=2", code=[0, 1])
    if ended.code:
        shown = {"the model's weights removed": "s0-tuned_1"}.get(what, "s0-measured_1")
        bench.expect(shown in ended.output and "error: " in ended.output, "message", ended.output[-400:])
        bench.expect("next: " in ended.output.lower() or "mend" in ended.output, "message", "no way out is told")
        return
    bench.expect("measured_2" in str(_figures(bench)), "silent", "no second round")
    book = json.loads((folder / "rounds.json").read_text())
    bench.expect(len(book["rows"]) == 3, "silent", f"{len(book['rows'])} rows in the book")


BETWEEN = ("the measure cut", "the measure without its figure", "the measure a text", "the measure NaN",
           "the measure removed", "the model's weights removed", "the model's run removed", "the lists removed",
           "the book removed", "the book cut")  # fmt: skip


# Sweeps


def _sweep(bench: Bench, *words: str, **expected: Any) -> Ended:
    model, lists = bench.folder / "llama", bench.folder / "lists.jsonl"
    if not lists.exists():
        write_model(model)
        write_lists(lists)
    fixed = overrides(model, lists, bench.folder / "runs", name="s", trainer__max_epochs=1)
    return bench.run("train", "-m", *fixed, *words, **{"seconds": 200.0, **expected})


def _job(bench: Bench, number: int) -> dict[str, Any]:
    path = bench.folder / "runs" / "s" / str(number) / "job.json"
    return json.loads(path.read_text()) if path.exists() else {}


def _lines(bench: Bench, number: int) -> int:
    path = bench.folder / "runs" / "s" / str(number) / "log.txt"
    return sum(" step " in f" {line}" for line in path.read_text().splitlines()) if path.exists() else 0


def _sweep_killed(bench: Bench, number: int, moment: str) -> None:
    """Killed in or between jobs; the printed command does the rest, and no finished job again."""

    def during(process: int, output: Path) -> None:
        there = {
            "in the first job": lambda: _lines(bench, 0) >= 2,
            "in the second job": lambda: _lines(bench, 1) >= 2,
            "between two jobs": lambda: _job(bench, 0).get("status") == "finished",
        }
        wait_for(there[moment])
        os.kill(process, number)

    ended = _sweep(bench, "seed=1,2", code=[{9: -9, 2: 130, 15: 143}[number], 0], during=during)
    done = {k: _job(bench, k)["ended"] for k in (0, 1) if _job(bench, k).get("status") == "finished"}
    if number != signal.SIGKILL and ended.code:
        states = [_job(bench, k).get("status") for k in (0, 1)]
        bench.expect("running" not in states, "message", f"states {states}")
    _sweep(bench, "seed=1,2", says=["2 of 2 jobs are finished"])
    again = [k for k, when in done.items() if _job(bench, k)["ended"] != when]
    bench.expect(not again, "lost", f"run twice: {again}")


def _job_fails(bench: Bench, values: str, says: str) -> None:
    """One of three jobs fails: the others are run, the table says which and why, and it alone runs again."""
    code = 1
    write_lists(bench.folder / "more.jsonl", seed=1)
    lines = write_lists(bench.folder / "broken.jsonl").read_text().split("\n")
    (bench.folder / "broken.jsonl").write_text("\n".join([*lines[:2], lines[2][:30], *lines[3:]]))
    _sweep(bench, values, code=code, says=[says, "2 of 3 jobs are finished", "again   "])
    states = [_job(bench, k).get("status") for k in range(3)]
    bench.expect(sorted(map(str, states)) == ["failed", "finished", "finished"], "silent", f"states {states}")
    ends = [_job(bench, k).get("ended") for k in range(3) if _job(bench, k).get("status") == "finished"]
    _sweep(bench, values, code=code, says=["2 of 3 jobs are finished already"])
    after = [_job(bench, k).get("ended") for k in range(3) if _job(bench, k).get("status") == "finished"]
    bench.expect(ends == after, "lost", "a finished job ran again")


def _job_damaged(bench: Bench, name: str, damage: Callable[[Path], object], codes: tuple[int, ...]) -> None:
    """A file of a finished sweep is damaged: named, or the job is run again; the other jobs stay as they are."""
    _sweep(bench, "seed=1,2")
    other = _job(bench, 1)["ended"]
    path = bench.folder / "runs" / "s" / name
    damage(path)
    ended = _sweep(bench, "seed=1,2", code=codes)
    if ended.code:
        bench.expect(name in ended.output, "message", f"{name} is not named: {ended.output[-300:]}")
    bench.expect(_job(bench, 1)["ended"] == other, "lost", "the other job ran again")


DAMAGES: dict[str, tuple[str, Callable[[Path], object], tuple[int, ...]]] = {
    "a job.json that is cut": ("0/job.json", lambda path: path.write_bytes(path.read_bytes()[:50]), (1,)),
    "a job.json that is a list": ("0/job.json", lambda path: path.write_text("[]"), (1,)),
    "no job.json": ("0/job.json", Path.unlink, (0, 1)),
    "a run.json that is cut": ("0/run.json", lambda path: path.write_bytes(path.read_bytes()[:50]), (0, 1)),
    "a sweep.json that is cut": ("sweep.json", lambda path: path.write_bytes(path.read_bytes()[:50]), (0,)),
    "no model of a job": ("0/model", shutil.rmtree, (0,)),
}


def _trials() -> Iterator[Trial]:
    for number, step, when in (
        (signal.SIGKILL, "lists", "is at work"), (signal.SIGKILL, "lists", "is done"),
        (signal.SIGKILL, "tuned", "is at work"), (signal.SIGKILL, "measured", "begins"),
        (signal.SIGINT, "tuned", "is at work"), (signal.SIGTERM, "tuned", "is at work"),
    ):  # fmt: skip
        run = partial(_killed, number=number, step=step, when=when)
        yield Trial(PAPER, f"{number.name} as {step} {when}", run)
    for step, how in (
        ("lists", "removed"), ("lists", "cut"), ("lists", "a line less"), ("tuned", "removed"),
        ("tuned", "without its model"),
        ("tuned", "without its weights"), ("measured", "removed"), ("measured", "without its results"),
        ("report", "removed"),
    ):  # fmt: skip
        yield Trial(PAPER, f"{step} {how}", partial(_output_gone, step=step, how=how))
    for step in ("lists", "tuned"):
        yield Trial(PAPER, f"{step} fails", partial(_fails, step=step))
    yield Trial(PAPER, "two at once", _two_at_once)
    for name, content in STATES.items():
        yield Trial(PAPER, f"steps.json holds {name}", partial(_state_damaged, content=content))
    for number, step, when in (
        (signal.SIGKILL, "lists_1", "is at work"), (signal.SIGKILL, "tuned_2", "is at work"),
        (signal.SIGINT, "tuned_1", "is at work"), (signal.SIGTERM, "measured_2", "begins"),
    ):  # fmt: skip
        words = ("pipeline=few", "rounds_patience=2")
        run = partial(_killed, number=number, step=step, when=when, words=words)
        yield Trial(ROUNDS, f"{number.name} as {step} {when}", run)
    for what in BETWEEN:
        yield Trial(ROUNDS, f"between two rounds: {what}", partial(_between, what=what))
    for number in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM):
        moments = ("in the first job", "in the second job", "between two jobs")
        for moment in moments if number == signal.SIGKILL else moments[1:2]:
            yield Trial(SWEEPS, f"{number.name} {moment}", partial(_sweep_killed, number=number, moment=moment))
    for name, values, says in (
        ("a rate that cannot be", "module.lr=1e-3,1e6,2e-3", "error: job 1"),
        ("lists with a broken line", "datamodule.path=lists.jsonl,broken.jsonl,more.jsonl", "broken.jsonl:3"),
    ):
        yield Trial(SWEEPS, f"one job of three: {name}", partial(_job_fails, values=values, says=says))
    for name, (path, damage, codes) in DAMAGES.items():
        run = partial(_job_damaged, name=path, damage=damage, codes=codes)
        yield Trial(SWEEPS, name, run)


TRIALS = [*_trials()]
