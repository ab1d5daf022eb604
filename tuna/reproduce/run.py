"""The steps of conf/pipeline/ as commands, several at once, each once: the same command again does what is missing."""

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from tuna.config import checks
from tuna.console import CHECKOUT, as_typed, clock_time
from tuna.errors import ConfigError, OtherSettings, RunError
from tuna.reproduce import before, losses, measures, rounds
from tuna.reproduce.clock import Clock
from tuna.reproduce.plan import ONCE, Step, chosen, plan, refuse_secrets
from tuna.runs import RunFolder, numbers, read_json, write_json
from tuna.signals import PARENT

ROOT = CHECKOUT  # whose scripts are run; of an installed package, ``python -m tuna``
_TAIL = 12  # lines of a failed step's log that are shown
GROUPS = ("judge", "benchmark")  # whose choice and keys, typed for reproduce.py, are those of the steps
COMPARES = "compare"  # the sizes' judge of answers: another than of lists, unless one is typed


@dataclass(frozen=True)
class Settings:
    """The keys of conf/reproduce.yaml itself."""

    name: str | None = None  # of the folder below ``folder``; null is the sizes' name
    folder: str = "reproduce"  # what holds the folders of all
    seeds: Annotated[int, Ge(1)] = 1  # their number; they are 0, 1, ...
    limit: Annotated[int, Ge(1)] | None = None  # instructions, and questions of each benchmark: a short trial of all
    jobs: Annotated[int, Ge(1)] | Literal["auto"] = "auto"  # steps at once
    only: list[str] | None = None  # these steps and what they need
    rounds: Annotated[int, Ge(1)] | None = None  # null is the pipeline's
    rounds_patience: Annotated[int, Ge(1)] = 1  # rounds in a row below the best one, after which there is no further
    dry_run: bool = False  # print the commands, run none


def run(cfg: DictConfig) -> dict[str, float]:
    """Run all; ConfigError before anything runs, RunError for steps that failed, after all that do not need them."""
    given, wrong = checks.own_values(cfg, f"{__name__}.Settings")
    if wrong:
        raise ConfigError("\n".join(wrong))
    settings = Settings(**given)
    sizes: Any = OmegaConf.to_container(cfg.sizes, resolve=True)
    pipeline: Any = OmegaConf.to_container(cfg.pipeline, resolve=False)
    short = f"limit{settings.limit}" if settings.limit else None  # a trial is no part of the whole
    name = settings.name or "-".join(filter(None, (str(sizes["name"]), pipeline.get("name"), short)))
    folder, seeds = Path(settings.folder) / name, range(settings.seeds)
    typed = _typed_groups()
    typed |= {COMPARES: typed["judge"]} if "judge" in typed and COMPARES in sizes else {}
    compared = "each_loss" in pipeline
    values = {**sizes, **typed, "book": folder / (losses.BOOK if compared else rounds.BOOK)}
    if settings.limit is not None:
        values |= _limited(pipeline, sizes, settings.limit)
    written = None
    if "each_round" in pipeline:
        written = rounds.write_out(pipeline, values, settings.rounds or pipeline["rounds"])
        steps = plan(written.steps, values, (), folder, seeds, pipeline.get("once", ()), written.earlier)
    elif compared and not settings.rounds:
        if settings.seeds > 1:
            raise ConfigError(
                "seeds: this pipeline has two sets of seeds; next: pipeline.choosing=..., pipeline.measuring=..."
            )
        values |= {key: ",".join(map(str, pipeline[key])) for key in losses.SEEDS}
        steps = plan(losses.write_out(pipeline), values, (), folder, seeds)
    elif settings.rounds:
        raise ConfigError("rounds: this pipeline has none; next: the same command with pipeline=rounds")
    else:
        written_out = measures.write_out(pipeline)
        out = measures.left_out(written_out, values)
        kept = {name: command for name, command in written_out.items() if name not in out}
        once = pipeline.get("once", ())
        steps = plan(kept, values, measures.kept_systems(pipeline["systems"], out), folder, seeds, once)
    if unused := [group for group in typed if group in GROUPS and f"{{{group}}}" not in str(pipeline)]:
        raise ConfigError(f"{', '.join(unused)}: no step of this pipeline takes it; next: pipeline=rounds")
    steps = chosen(steps, settings.only)
    refuse_secrets(steps)
    missing, told = before.missing_files(steps, sizes), before.costs(steps)
    clock = Clock(steps, sizes.get("minutes") or {})
    if settings.dry_run:
        for line in [*told, *missing]:
            print(f"# {line}")
        for step in steps:
            print(as_typed(step.command))
        print(*clock.forecast(steps, {}), sep="\n", end="", file=sys.stderr)
        return {"steps": float(len(steps))}
    if missing:
        raise ConfigError("\n".join(missing))
    before.check_servers(steps)
    before.check_clones(steps)
    for line in told:
        print(line)
    with RunFolder(folder, folder.name).locked(patience=1.0):
        rows = _rows(written, steps, folder, seeds) if written else []
        if written:
            write_json(folder / rounds.BOOK, {"patience": settings.rounds_patience, "rows": rows})
        if compared:
            write_json(folder / losses.BOOK, losses.book(pipeline, steps, folder))
        jobs = _jobs_here() if settings.jobs == "auto" else settings.jobs
        return _Run(steps, folder, jobs, _state(folder), clock, rows, settings.rounds_patience).work()


def _typed() -> list[str]:
    """The overrides of the command line, as they were typed."""
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def _config_dirs() -> list[str]:
    """The folders of configs of a user's own, as they are typed."""
    found = HydraConfig.get().searchpath if HydraConfig.initialized() else []
    return [word for path in found for word in ("--config-dir", path.removeprefix("file://"))]


def _typed_groups() -> dict[str, str]:
    """By group: its choice and keys where the command line has them, which win over the words of sizes."""
    words = {group: [word for word in _typed() if re.match(rf"{group}[.=]", word)] for group in GROUPS}
    return {group: shlex.join(typed) for group, typed in words.items() if typed}


def _limited(pipeline: Mapping[str, Any], sizes: Mapping[str, Any], limit: int) -> dict[str, object]:
    """The sizes of a short trial; a ConfigError where the pipeline's steps know no such."""
    if "{limit}" not in str(pipeline["steps"]):
        raise ConfigError("limit: no step of this pipeline takes it; next: sizes=smollm2, or only=[...] for some steps")
    first = {key: min(limit, value) for key, value in sizes.items() if key in ("first", "first_p")}
    return {"limit": f"limit={limit}", "few": f"datamodule.first={limit}", **first}


def _jobs_here() -> int:
    """Two small models share two cores better than one uses both; a GPU is one step's alone."""
    import torch

    return 1 if torch.cuda.is_available() or (os.cpu_count() or 1) < 2 else 2


def _state(folder: Path) -> dict[str, Any]:
    """steps.json: what became of each step."""
    file = folder / "steps.json"
    state = read_json(file)
    for name, known in state.items():
        if not isinstance(known, dict) or not numbers(known.get("ended"), known.get("seconds", 0.0)):
            raise RunError(
                f"{file}: {name}: expected an object with seconds and a time of its end; move the file away to run all "
                "anew"
            )
    return state


def _made(step: Step) -> bool:
    """Whether what a step leaves behind is there; of a measurement, its results."""
    if step.words[0] == "evaluate.py":
        return any(step.makes.glob("*/*/results.json"))
    return step.makes.exists()


def _size(path: Path) -> int | None:
    """Of a file, in bytes."""
    return path.stat().st_size if path.is_file() else None


def _rows(written: rounds.Written, steps: Sequence[Step], folder: Path, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Which of the results below ``folder`` are of which round and seed; those of rounds not run are not there."""
    made = {step.name: str(step.makes.relative_to(folder)) for step in steps}
    return [
        {
            "name": row.name, "round": row.round, "seed": seed, "model": made.get(f"s{seed}-{row.model}"),
            "measured": [made.get(f"s{seed}-{step}", made.get(f"s{seeds[0]}-{step}")) for step in row.steps],
        }
        for seed in seeds
        for row in written.rows
    ]  # fmt: skip


@dataclass
class _Run:
    """The pipeline at work, in a folder that is ours alone for that time."""

    steps: list[Step]
    folder: Path
    jobs: int
    state: dict[str, Any]  # what became of each step, as steps.json holds it
    clock: Clock
    rows: Sequence[Mapping[str, Any]] = ()  # of the book of rounds
    patience: int = 1  # rounds in a row below the best one, after which there is no further
    over: set[str] = field(default_factory=set)  # steps of rounds that there is no need for
    began: float = field(default_factory=time.monotonic)
    working: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)  # by step, each once it was begun
    stopped: bool = False  # by Ctrl-C

    def work(self) -> dict[str, float]:
        """Run what is not done."""
        (self.folder / "logs").mkdir(parents=True, exist_ok=True)
        done, count = self._done(), len(self.steps)
        print(f"{count} steps, {self.jobs} at once, {len(done)} done before; results go to {self.folder}")
        print(*self._forecast(done), sep="\n", end="", flush=True)
        if failed := self._run_all(done):
            again = shlex.join(("python", "reproduce.py", *_config_dirs(), *_typed()))
            raise RunError(
                f"{len(failed)} of {count} steps failed ({', '.join(failed)}), "
                f"{count - len(done) - len(failed)} that need them were not begun. Their logs: {self.folder}/logs/. "
                f"The same command runs what is missing: {again}"
            )
        seconds = time.monotonic() - self.began
        print(f"all {count - len(self.over)} steps done in {clock_time(seconds)}")
        self._tell_best()
        for step in self.steps:
            if step.words[0] == ONCE:
                print(f"report: {step.makes / 'report.html'}")
        return {"steps": float(count), "seconds": seconds}

    def _forecast(self, done: Collection[str]) -> list[str]:
        """How long the rest will take, in words; by what was done before, of that what did all of its work at once."""
        whole = {name: self.state[name] for name in done if name in self.state and self.state[name].get("whole")}
        took = {name: known.get("seconds", 0.0) for name, known in whole.items()}
        return self.clock.forecast([step for step in self.steps if step.name not in done], took)

    def _done(self) -> set[str]:
        """Steps whose very command succeeded after all that it needs, and whose results are still there (a file as
        long as it was); and those of rounds that are not run.
        """
        done: set[str] = set()
        for step in self.steps:  # each comes after what it needs
            known = self.state.get(step.name, {})
            same = (known.get("command"), known.get("needs")) == (step.command, list(step.needs))
            size = _size(step.makes)
            if not done.issuperset(step.needs):
                continue
            if same and known.get("status") == "finished" and known.get("bytes", size) == size and _made(step):
                newest = max((self.state[need]["ended"] for need in step.needs if need not in self.over), default=0.0)
                done |= {step.name} if newest <= known["ended"] else set()
            elif self._is_over(step):
                done.add(step.name)
        return done

    def _run_all(self, done: set[str]) -> list[str]:
        """Start what has all it needs, as many at once as ``jobs``; ``done`` grows. Returns the steps that failed.
        Ctrl-C ends each step at work once, from here: they have sessions of their own.
        """
        left = [step for step in self.steps if step.name not in done]
        count = len(left)
        failed: list[str] = []
        took: dict[str, float] = {}  # seconds of what this very run did
        new: set[str] = set()  # of which nothing was there before
        running: dict[Future[tuple[int, float]], Step] = {}
        with ThreadPoolExecutor(self.jobs) as pool, self._interrupted():
            while True:
                while over := [step for step in left if done.issuperset(step.needs) and self._is_over(step)]:
                    left = [step for step in left if step not in over]
                    done.update(step.name for step in over)
                ready = [step for step in left if done.issuperset(step.needs)]
                ready.sort(key=lambda step: not step.earlier)  # the rounds first: each waits for the one before
                for step in ready[: self.jobs - len(running)]:
                    left.remove(step)
                    words = losses.settle(step.words)
                    if not step.makes.exists() and not step.makes.with_suffix(".store").exists():
                        new.add(step.name)
                    print(f"{step.name}: {as_typed(shlex.join(('python', *words)))}", flush=True)
                    running[pool.submit(self._execute, step, words)] = step
                if not running:
                    return failed  # what is left needs a step that failed
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    step = running.pop(future)
                    code, seconds = future.result()
                    self._note(step, "failed" if code else "finished", seconds, step.name in new)
                    if code:
                        failed.append(step.name)
                        self._tell_failure(step, code)
                        continue
                    done.add(step.name)
                    took[step.name] = seconds
                    rest = [*left, *running.values()]
                    time_left = self._time_left(took, rest)
                    told = "" if time_left is None else f", about {clock_time(time_left)} left"
                    print(f"{step.name}: done in {seconds:.0f} s; {count - len(rest)}/{count}{told}", flush=True)

    def _time_left(self, took: Mapping[str, float], rest: Sequence[Step]) -> float | None:
        """Seconds, by the steps of this run that did all of their work (several at once); None where there is none."""
        whole = [name for name in took if self.state[name]["whole"]]
        share = sum(took[name] for name in whole) / max(sum(took.values()), 1e-9)
        return self.clock.left(share * (time.monotonic() - self.began), whole, rest) if whole else None

    @contextmanager
    def _interrupted(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.stopped = True
            for process in list(self.working.values()):
                process.terminate()  # nothing where it has ended; Ctrl-C may be ignored, as after nohup or &
            raise

    def _is_over(self, step: Step) -> bool:
        """Whether a step is of a round that is not run, since the measure fell before it; told once per seed."""
        figures = [rounds.figure_in(path) for path in takewhile(Path.exists, step.earlier)]
        last = rounds.ended_at(figures, self.patience)
        if last is None:
            return False
        seed = step.name.partition("-")[0]
        if not any(name.startswith(f"{seed}-") for name in self.over):
            best = rounds.best_in(figures[: last + 1])
            fell, before = (f"{abs(figures[number]):.4g}" for number in (last, best))
            print(
                f"{seed}: round {last} measured {fell}, after round {best} ({before}; 0 is the start): no further "
                f"round (rounds_patience={self.patience})"
            )
        self.over.add(step.name)
        return True

    def _tell_best(self) -> None:
        """Which round's model is the result of each seed."""
        for seed in dict.fromkeys(row["seed"] for row in self.rows):
            of = [row for row in self.rows if row["seed"] == seed and row["round"] is not None and row["measured"][0]]
            of = [row for row in of if (self.folder / row["measured"][0]).exists()]
            figures = [rounds.figure_in(self.folder / row["measured"][0]) for row in of]
            if figures:
                best = of[rounds.best_in(figures)]
                model = self.folder / best["model"] if best["model"] else "the start itself"
                print(f"result of seed {seed}: {best['name']}, {abs(max(figures)):.4g}: {model}")

    def _execute(self, step: Step, words: Sequence[str]) -> tuple[int, float]:
        """Run one step: its exit code (-1 where it made nothing) and its seconds."""
        paths = filter(None, ("" if ROOT is None else str(ROOT), os.environ.get("PYTHONPATH")))
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), PARENT: str(os.getpid())}
        if self.jobs > 1:
            environment["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // self.jobs))
        program = [str(ROOT / words[0])] if ROOT else ["-P", "-m", "tuna", words[0].removesuffix(".py")]
        words = [sys.executable, *program, *words[1:]]
        begin = time.monotonic()
        with self._log(step).open("w", encoding="utf-8") as file:
            self.working[step.name] = subprocess.Popen(
                words, stdout=file, stderr=subprocess.STDOUT, env=environment, start_new_session=True
            )
        if self.stopped:  # between the two
            self.working[step.name].terminate()
        code = self.working[step.name].wait()
        return code if code or _made(step) else -1, time.monotonic() - begin

    def _note(self, step: Step, status: str, seconds: float, whole: bool) -> None:
        """Remember, at once. whole: these seconds did all of its work. ended: seconds since 1970; after all that ended
        before, also where the clock was set back, since it says what was made of what.
        """
        latest = max((known["ended"] for known in self.state.values()), default=0.0)
        self.state[step.name] = {
            "command": step.command, "needs": list(step.needs), "status": status, "seconds": round(seconds, 1),
            "whole": whole, "ended": max(time.time(), latest + 0.001), "bytes": _size(step.makes),
        }  # fmt: skip
        write_json(self.folder / "steps.json", self.state)

    def _log(self, step: Step) -> Path:
        return self.folder / "logs" / f"{step.name}.log"

    def _tell_failure(self, step: Step, code: int) -> None:
        log = self._log(step)
        lines = [f"{step.name}: failed (exit code {code}); the end of {log}:"]
        lines += log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL:]
        if code == OtherSettings.exit_code:
            lines.append(
                f"{step.makes} was made with other settings or from other data, and may have cost much, so it is left. "
                "To make it anew here, move it away (of rankings the .store too) and give the same command"
            )
        elif read := [str(other.makes) for other in self.steps if other.name in step.needs]:
            lines.append(
                f"where one of {', '.join(read)} is damaged: move it away; next: the same command makes it anew"
            )
        print(*lines, sep="\n  ", file=sys.stderr, flush=True)
