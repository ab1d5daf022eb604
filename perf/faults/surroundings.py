"""Clocks that jump and disks that are full.

The clock of a command is set by other functions for ``time.time`` and ``datetime.now`` in its process, and in its
steps'; files of another time by ``os.utime``. A disk is full where a file may not grow beyond a limit (RLIMIT_FSIZE).
"""

import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from perf.faults import measuring, pipelines, references
from perf.faults.asking import Samples
from perf.faults.base import Bench, Trial, files_of, wait_for
from tests.inference.http_server import OK, LoopbackServer
from tests.training.make import overrides, write_lists, write_model

CLOCKS, DISKS = "clocks", "full disks"
YEAR = 366 * 86400.0
First = Callable[[], object]


def _clock(shift: Callable[[], float]) -> First:
    """Add so many seconds to every look at the clock."""

    def first() -> None:
        import datetime
        import time

        true, real = time.time, datetime.datetime

        class Shifted(datetime.datetime):
            @classmethod
            def now(cls, tz: datetime.tzinfo | None = None) -> Any:
                return real.fromtimestamp(true() + shift(), tz)

        time.time = lambda: true() + shift()
        for name, module in list(sys.modules.items()):
            if name.startswith("tuna") and vars(module).get("datetime") is real:
                module.datetime = Shifted  # type: ignore[attr-defined]

    return first


def _at(years: float) -> First:
    return _clock(lambda: years * YEAR)


def _jumping() -> First:
    """A clock that goes forward and back by years at every look."""
    looks = iter(range(1_000_000))
    return _clock(lambda: (-1) ** next(looks) * 20 * YEAR)


CLOCK: dict[str, Callable[[], First]] = {
    "set back by years": lambda: _at(-20), "set forward by years": lambda: _at(20),
    "that jumps at every look": _jumping,
}  # fmt: skip


def _train(bench: Bench, name: str, **changes: object) -> list[str]:
    model, lists = bench.folder / "llama", bench.folder / "lists.jsonl"
    if not lists.exists():
        write_model(model)
        write_lists(lists)
    return overrides(model, lists, bench.folder / "runs", **{"name": name, **changes})


def _same_model(bench: Bench) -> None:
    found = files_of(bench.folder / "runs", "*/model/model.safetensors")
    bench.expect(len(set(found.values())) == 1 and len(found) == 2, "silent", f"models differ: {[*found]}")


def _killed(bench: Bench) -> Path:
    """A run to its end, and one that was killed behind its second checkpoint: the folder of the latter."""
    bench.run("train", *_train(bench, "whole"))
    run = bench.folder / "runs" / "run"

    def during(process: int, output: Path) -> None:
        wait_for(lambda: (run / "checkpoints" / "step-6").exists())
        os.kill(process, signal.SIGKILL)

    bench.run("train", *_train(bench, "run"), code=[-9, 0], during=during)
    return run


def _training(bench: Bench, first: First) -> None:
    """Killed, and gone on with at another time: the newest checkpoint is taken, and the model is the same."""
    run = _killed(bench)
    newest = max((int(path.name[5:]) for path in (run / "checkpoints").glob("step-*[0-9]")), default=0)
    bench.run("train", *_train(bench, "run", resume="auto"), first=first, says=[f"resumed at step {newest}"])
    _same_model(bench)


def _mtimes(bench: Bench, years: float) -> None:
    """Every file of a killed run and of its inputs is of another time."""
    _killed(bench)
    _set_times(bench.folder, years)
    bench.run("train", *_train(bench, "run", resume="auto"), says=["resumed at step "])
    _same_model(bench)


def _set_times(folder: Path, years: float) -> None:
    for path in folder.rglob("*"):
        when = max(1.0, path.lstat().st_mtime + years * YEAR)
        os.utime(path, (when, when), follow_symlinks=False)


def _collecting(bench: Bench, first: First, budget: int) -> None:
    """A budget counts requests, not days: at another time there is no more and no less of it, and no answer is asked
    for again."""
    with LoopbackServer() as server:
        samples = Samples(bench, server, "sampler.tau=null")
        samples.run(f"max_requests={budget}", code=1)
        bench.expect(samples.asked() == budget, "lost", f"{samples.asked()} requests of {budget}")
        samples.run(f"max_requests={budget}", code=1, first=first)
        bench.expect(samples.asked() == budget, "lost", f"{samples.asked()} requests of {budget}, at another time")
        _set_times(bench.folder / "out.store", 20)
        samples.run("max_requests=6", first=first)
        bench.expect(samples.asked() == 6, "lost", f"{samples.asked()} requests of 6")


def _waits(bench: Bench, years: float) -> None:
    """A server names the time at which it can be asked again: a clock that is wrong by years makes no wait of years."""
    today = "Fri, 27 Nov 2026 00:00:0{} GMT"
    busy = {"kind": "status", "status": 429, "headers": {"date": today.format(0), "retry-after": today.format(1)}}
    with LoopbackServer(lambda prompt, nth: busy if nth == 0 else OK) as server:
        samples = Samples(bench, server, "sampler.tau=null")
        samples.run(first=_at(years), seconds=60.0)
        bench.expect(samples.asked() == 12, "lost", f"{samples.asked()} requests for 6 answers")


def _measuring(bench: Bench, first: First) -> None:
    measuring._measure(bench, folder="whole")

    def during(process: int, output: Path) -> None:
        stores = bench.folder / "results"
        wait_for(lambda: sum(map(measuring._lines, stores.glob("*/*/store/answers.jsonl"))) >= 4)
        os.kill(process, signal.SIGKILL)

    measuring._measure(bench, code=[-9, 0], during=during)
    _set_times(bench.folder / "results", -20)
    measuring._measure(bench, first=first)
    bench.expect(measuring._scores(bench) == measuring._scores(bench, "whole"), "silent", "other figures")
    ended = measuring._measure(bench, says=["measured already"])
    bench.expect(ended.seconds < 60, "slow", "measured again")


def _reproducing(bench: Bench, first: First) -> None:
    """A step's output is removed and made anew at another time: what was made of it is made anew, once, and no more."""
    whole = pipelines._done(bench)
    before = pipelines._state(bench)
    (pipelines._folder(bench) / pipelines.MADE["lists"]).unlink()
    pipelines._reproduce(bench, first=first)
    after = pipelines._state(bench)
    made = [name for name in after if after[name]["ended"] != before[name]["ended"]]
    bench.expect(len(made) == 4, "silent", f"made anew: {made}")
    pipelines._reproduce(bench, says=["4 steps, 1 at once, 4 done before"])
    bench.expect(pipelines._state(bench) == after, "lost", "what was done was done again")
    bench.expect(pipelines._figures(bench) == whole, "silent", "other figures")


def _sweeping(bench: Bench, first: First, years: float) -> None:
    """A finished job stays finished, whatever the time of its files; one whose lists were changed is not."""
    pipelines._sweep(bench, "seed=1", first=first)
    done = pipelines._job(bench, 0)["ended"]
    pipelines._sweep(bench, "seed=1", says=["1 of 1 jobs are finished"])
    bench.expect(pipelines._job(bench, 0)["ended"] == done, "lost", "the finished job ran again")
    lists = write_lists(bench.folder / "lists.jsonl", 39)
    when = lists.stat().st_mtime + years * YEAR
    os.utime(lists, (when, when))
    pipelines._sweep(bench, "seed=1", code=[0, 1, 5], says=["a file it reads was changed"])


def _reporting(bench: Bench, started: object) -> None:
    """A run of another time is shown with the others."""
    bench.run("train", *_train(bench, "run", trainer__max_steps=2))
    path = bench.folder / "runs" / "run" / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"started": started, "ended": started}))
    bench.run("report", code=[0, 1])


# Full disks


def _full(size: int) -> First:
    """No file may grow beyond so many bytes."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def _full_training(bench: Bench, size: int, **changes: object) -> None:
    """It ends with the file and what to do; with space again, the same command comes to the same model."""
    bench.run("train", *_train(bench, "whole", **changes))
    ended = bench.run("train", *_train(bench, "run", **changes), code=[0, 1], first=_full(size))
    if ended.code:
        bench.expect(
            "free some space" in ended.output or "File too large" in ended.output, "message", ended.output[-300:]
        )
        bench.expect(ended.output.count("error: ") == 1, "message", "more than one message, or none")
        bench.run("train", *_train(bench, "run", resume="auto", **changes))
    _same_model(bench)


def _full_collecting(bench: Bench, size: int) -> None:
    """What was stored is not asked for again; one answer, that could not be stored, is."""
    with LoopbackServer() as server:
        samples = Samples(bench, server, "sampler.tau=null")
        samples.run(output="whole")
        server.asked.clear()
        samples.run(code=[0, 1], first=_full(size), says=[])
        stored = measuring._lines(bench.folder / "out.store" / "answers.jsonl")
        first = samples.asked()
        samples.run()
        bench.expect(first - stored <= 1, "lost", f"{first} requests, {stored} stored")
        bench.expect(samples.asked() - first == 6 - stored, "lost", f"{samples.asked()} requests, {stored} were stored")
        same = [*files_of(bench.folder, "out.jsonl").values()] == [*files_of(bench.folder, "whole.jsonl").values()]
        bench.expect(same, "silent", "other lists")


def _full_measuring(bench: Bench, size: int) -> None:
    measuring._measure(bench, folder="whole")
    ended = measuring._measure(bench, code=[0, 1], first=_full(size))
    if ended.code and size > 500:  # the command's own output is cut there, too
        bench.expect("free some space" in ended.output, "message", f"no way out is told: {ended.output[-300:]}")
    measuring._measure(bench)
    bench.expect(measuring._scores(bench) == measuring._scores(bench, "whole"), "silent", "other figures")
    answers = measuring._lines(measuring._place(bench) / "store" / "answers.jsonl")
    bench.expect(answers == measuring.LIMIT, "lost", f"{answers} answers were drawn")


def _full_reference(bench: Bench, size: int) -> None:
    """The values of the reference cannot be stored: a warning, and the run is what it would have been."""
    bench.run("train", *references._command(bench, "whole", trainer__max_steps=2))
    import shutil

    shutil.rmtree(bench.folder / "runs" / "cache")
    ended = bench.run("train", *references._command(bench, "run", trainer__max_steps=2), code=[0, 1], first=_full(size))
    if ended.code:
        bench.run("train", *references._command(bench, "run", trainer__max_steps=2, resume="auto"))
    references._same(bench, "run")


def _full_sweep(bench: Bench, size: int) -> None:
    """Every job fails, each by its own message; with space again the same command does all of them."""
    pipelines._sweep(bench, "seed=1,2", code=1, first=_full(size), says=["error: "])
    pipelines._sweep(bench, "seed=1,2", says=["2 of 2 jobs are finished"])


def _full_reproducing(bench: Bench, size: int) -> None:
    whole = pipelines._whole()
    pipelines._reproduce(bench, code=1, first=_full(size), says=["error: "])
    pipelines._reproduce(bench)
    bench.expect(pipelines._figures(bench) == whole, "silent", "other figures")


def _trials() -> Iterator[Trial]:
    for name, clock in CLOCK.items():
        yield Trial(CLOCKS, f"training goes on by a clock {name}", partial(_training, first=clock()))
        run = partial(_collecting, first=clock(), budget=3)
        yield Trial(CLOCKS, f"a budget by a clock {name}", run)
        yield Trial(CLOCKS, f"measuring goes on by a clock {name}", partial(_measuring, first=clock()))
        yield Trial(CLOCKS, f"a pipeline goes on by a clock {name}", partial(_reproducing, first=clock()))
    for years in (-20, 20):
        shown = "years ago" if years < 0 else "years ahead"
        yield Trial(CLOCKS, f"training goes on with files of {shown}", partial(_mtimes, years=years))
        yield Trial(CLOCKS, f"a sweep {shown}, lists of {shown}", partial(_sweeping, first=_at(years), years=years))
        yield Trial(CLOCKS, f"a server's time to wait for, {shown}", partial(_waits, years=years), years < 0)
    for name, started in {
        "of 2300": "2300-01-01T00:00:00", "of 1970": "1970-01-01T00:00:00", "of no time": "yesterday", "of nothing": "",
    }.items():  # fmt: skip
        yield Trial(CLOCKS, f"a report of a run {name}", partial(_reporting, started=started))
    for size in (5_000, 30_000, 100_000):
        yield Trial(DISKS, f"training, {size:,} bytes", partial(_full_training, size=size))
    run = partial(_full_training, size=60_000, trainer__checkpoint_every=100)
    yield Trial(DISKS, "training without checkpoints, 60,000 bytes", run)
    for size in (200, 900, 4_000):
        yield Trial(DISKS, f"collecting, {size:,} bytes", partial(_full_collecting, size=size))
    for size in (200, 900, 5_000):
        yield Trial(DISKS, f"measuring, {size:,} bytes", partial(_full_measuring, size=size))
    yield Trial(DISKS, "a reference pass, 1,000 bytes", partial(_full_reference, size=1_000))
    yield Trial(DISKS, "a sweep, 30,000 bytes", partial(_full_sweep, size=30_000))
    yield Trial(DISKS, "a pipeline, 3,000 bytes", partial(_full_reproducing, size=3_000))


TRIALS = [*_trials()]
