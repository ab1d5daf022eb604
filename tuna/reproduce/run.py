"""The steps of conf/pipeline/ as commands, several at once, each once: the same command again does what is missing."""

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge
from omegaconf import DictConfig, OmegaConf

from tuna.config import checks
from tuna.config.arguments import LITERAL
from tuna.console import clock_time, nearest
from tuna.errors import ConfigError, OtherSettings, RunError
from tuna.runs import RunFolder, read_json, write_json
from tuna.secrets import HIDDEN, secret_in

ROOT = Path(__file__).parents[2]
_TAIL = 12  # lines of a failed step's log that are shown
_FIELD = re.compile(r"\{(\w+)\}")
SYSTEMS = "systems"  # in a command: all models that are measured
ONCE = "report.py"
# By program: what a step leaves behind, and the arguments that every command of it gets.
_PROGRAMS = {
    "train.py": ("runs/s{seed}-{name}", "seed={seed} name={made.name} runs_dir={made.parent} resume=auto"),
    "rank.py": ("rankings/s{seed}-{name}.jsonl", "seed={seed} output={made}"),
    "evaluate.py": ("results/s{seed}-{name}", "seed={seed} folder={made}"),
    ONCE: ("{name}", "runs={folder}/runs rankings={folder}/rankings results={folder}/results output={made}"),
}


@dataclass(frozen=True)
class Settings:
    """The keys of conf/reproduce.yaml itself."""

    name: str | None = None  # of the folder below ``folder``; null is the sizes' name
    folder: str = "reproduce"
    seeds: Annotated[int, Ge(1)] = 1  # their number; they are 0, 1, ...
    jobs: Annotated[int, Ge(1)] | Literal["auto"] = "auto"  # steps at once
    only: list[str] | None = None  # these steps and what they need
    dry_run: bool = False  # print the commands, run none


def run(cfg: DictConfig) -> dict[str, float]:
    """Run all; ConfigError before anything runs, RunError for steps that failed, after all that do not need them."""
    given, wrong = checks.own_values(cfg, f"{__name__}.Settings")
    if wrong:
        raise ConfigError("\n".join(wrong))
    settings = Settings(**given)
    sizes: Any = OmegaConf.to_container(cfg.sizes, resolve=True)
    pipeline: Any = OmegaConf.to_container(cfg.pipeline, resolve=False)
    folder = Path(settings.folder) / (settings.name or str(sizes["name"]))
    steps = plan(pipeline["steps"], sizes, pipeline["systems"], folder, range(settings.seeds))
    steps = _chosen(steps, settings.only)
    _refuse_secrets(steps)
    if settings.dry_run:
        for step in steps:
            print(step.command)
        return {"steps": float(len(steps))}
    with RunFolder(folder, folder.name).locked(patience=1.0):
        return _Run(steps, folder, _jobs_here() if settings.jobs == "auto" else settings.jobs, _state(folder)).work()


@dataclass(frozen=True, slots=True)
class Step:
    """One command of one seed (or of all seeds together: ``report.py``)."""

    name: str  # as s0-tuna_p
    recipe: str  # its name without the seed
    words: tuple[str, ...]  # the command after python
    needs: tuple[str, ...]  # names of the steps that come first
    makes: Path  # the file or folder that is there when it has succeeded

    @property
    def command(self) -> str:
        """As a person types it."""
        return shlex.join(("python", *self.words))


def plan(
    steps: Mapping[str, str], values: Mapping[str, object], systems: Sequence[str], folder: Path, seeds: Sequence[int]
) -> list[Step]:
    """The steps of every seed in an order that can be run, then those that are run once, for all seeds.

    steps: commands by name, in which ``{x}`` is what step ``x`` makes, or a value; ``{systems}`` all models that are
    measured, with commas, as a sweep takes them. A value of several words gives several. A ``report.py`` step is run
    once. systems: the steps whose models are measured. folder: where all of it goes. A ConfigError tells unknown
    programs and names, one per line, or steps that need each other.

    >>> found = plan({"a": "train.py model.path={b}", "b": "train.py model.path=x"}, {}, [], Path("f"), [0])
    >>> [(step.name, step.needs) for step in found]
    [('s0-b', ()), ('s0-a', ('s0-b',))]
    >>> found[1].command
    'python train.py model.path=f/runs/s0-b seed=0 name=s0-a runs_dir=f/runs resume=auto'
    """
    programs = {name: command.partition(" ")[0] for name, command in steps.items()}
    fields = {name: _FIELD.findall(command) for name, command in steps.items()}
    known = [*steps, *values, SYSTEMS]
    wrong = [
        f"pipeline.systems: {name} is no step{nearest(name, list(steps))}" for name in systems if name not in steps
    ]
    for name, program in programs.items():
        if program not in _PROGRAMS:
            wrong.append(f"pipeline.steps.{name}: expected a command of {', '.join(_PROGRAMS)}, got {program!r}")
        wrong += [
            f"pipeline.steps.{name}: {{{field}}} is neither a step nor a value of sizes{nearest(field, known)}"
            for field in fields[name]
            if field not in known
        ]
    if wrong:
        raise ConfigError("\n".join(wrong))
    needs = {
        name: list(dict.fromkeys([*(f for f in named if f in steps), *(systems if SYSTEMS in named else ())]))
        for name, named in fields.items()
    }
    try:
        order = list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        raise ConfigError(f"steps: {', '.join(sorted(set(error.args[1])))} need each other") from None
    found: list[Step] = []
    once: dict[str, Step] = {}
    for seed in seeds:
        made = {name: folder / _PROGRAMS[program][0].format(seed=seed, name=name) for name, program in programs.items()}
        filled = {**values, **made, SYSTEMS: ",".join(str(made[system]) for system in systems)}
        for name in order:
            typed = _words(steps[name], filled)
            ends = _PROGRAMS[programs[name]][1].split(" ")
            words = (*typed, *(end.format(seed=seed, made=made[name], folder=folder) for end in ends))
            if programs[name] == ONCE:
                once.setdefault(name, Step(name, name, words, (), made[name]))
            else:
                found.append(
                    Step(f"s{seed}-{name}", name, words, tuple(f"s{seed}-{need}" for need in needs[name]), made[name])
                )
    every = tuple(step.name for step in found)
    return [*found, *(replace(step, needs=every) for step in once.values())]


def _words(command: str, filled: Mapping[str, object]) -> list[str]:
    return shlex.split(_FIELD.sub(lambda match: str(filled[match[1]]), command))


def _chosen(steps: list[Step], only: Sequence[str] | None) -> list[Step]:
    """The steps named, with or without their seed, and all that they need."""
    if only is None:
        return steps
    names = {name for step in steps for name in (step.name, step.recipe)}
    if unknown := [name for name in only if name not in names]:
        known = ", ".join(dict.fromkeys(step.recipe for step in steps))
        raise ConfigError(f"only: no such steps: {', '.join(unknown)}; expected some of {known}")
    keep: set[str] = set()
    for step in reversed(steps):  # each comes after what it needs
        if step.name in keep or {step.name, step.recipe} & set(only):
            keep |= {step.name, *step.needs}
    return [step for step in steps if step.name in keep]


def _refuse_secrets(steps: Sequence[Step]) -> None:
    """A key in a file of sizes or of a pipeline, where no override was there to be refused."""
    found = [(step.name, key) for step in steps for word in step.words if (key := secret_in(word)) is not None]
    if found:
        raise ConfigError("\n".join(f"{name}: {key}={HIDDEN}: {LITERAL}" for name, key in found))


def _jobs_here() -> int:
    """Two small models share two cores better than one uses both; a GPU is one step's alone."""
    import torch

    return 1 if torch.cuda.is_available() or (os.cpu_count() or 1) < 2 else 2


def _state(folder: Path) -> dict[str, Any]:
    """steps.json: what became of each step."""
    file = folder / "steps.json"
    state = read_json(file)
    for name, known in state.items():
        if not isinstance(known, dict) or not isinstance(known.get("ended"), int | float):
            raise RunError(
                f"{file}: {name}: expected an object with a time of its end; move the file away to run all anew"
            )
    return state


@dataclass
class _Run:
    """The pipeline at work, in a folder that is ours alone for that time."""

    steps: list[Step]
    folder: Path
    jobs: int
    state: dict[str, Any]  # what became of each step, as steps.json holds it
    began: float = field(default_factory=time.monotonic)

    def work(self) -> dict[str, float]:
        """Run what is not done."""
        (self.folder / "logs").mkdir(parents=True, exist_ok=True)
        done, count = self._done(), len(self.steps)
        print(f"{count} steps, {self.jobs} at once, {len(done)} done before; results go to {self.folder}")
        if failed := self._run_all(done):
            raise RunError(
                f"{len(failed)} of {count} steps failed ({', '.join(failed)}), "
                f"{count - len(done) - len(failed)} that need them were not begun. Their logs: {self.folder}/logs/. "
                "The same command runs what is missing"
            )
        seconds = time.monotonic() - self.began
        print(f"all {count} steps done in {clock_time(seconds)}")
        for step in self.steps:
            if step.words[0] == ONCE:
                print(f"report: {step.makes / 'report.html'}")
        return {"steps": float(count), "seconds": seconds}

    def _done(self) -> set[str]:
        """Steps whose very command succeeded after all that it needs, and whose results are still there."""
        done: set[str] = set()
        for step in self.steps:  # each comes after what it needs
            known = self.state.get(step.name, {})
            same = (known.get("command"), known.get("needs")) == (step.command, list(step.needs))
            if same and known.get("status") == "finished" and step.makes.exists() and done.issuperset(step.needs):
                newest = max((self.state[need]["ended"] for need in step.needs), default=0.0)
                done |= {step.name} if newest <= known["ended"] else set()
        return done

    def _run_all(self, done: set[str]) -> list[str]:
        """Start what has all it needs, as many at once as ``jobs``; ``done`` grows. Returns the steps that failed."""
        left = [step for step in self.steps if step.name not in done]
        count = len(left)
        failed: list[str] = []
        running: dict[Future[tuple[int, float]], Step] = {}
        with ThreadPoolExecutor(self.jobs) as pool:
            while True:
                ready = [step for step in left if done.issuperset(step.needs)]
                for step in ready[: self.jobs - len(running)]:
                    left.remove(step)
                    print(f"{step.name}: {step.command}", flush=True)
                    running[pool.submit(self._execute, step)] = step
                if not running:
                    return failed  # what is left needs a step that failed
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    step = running.pop(future)
                    code, seconds = future.result()
                    self._note(step, "failed" if code else "finished", seconds)
                    if code:
                        failed.append(step.name)
                        self._tell_failure(step, code)
                        continue
                    done.add(step.name)
                    ended = count - len(left) - len(running)
                    time_left = clock_time((time.monotonic() - self.began) / ended * (count - ended))
                    print(f"{step.name}: done in {seconds:.0f} s; {ended}/{count}, about {time_left} left", flush=True)

    def _execute(self, step: Step) -> tuple[int, float]:
        """Run one step: its exit code (-1 where it made nothing) and its seconds."""
        paths = filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        if self.jobs > 1:
            environment["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // self.jobs))
        words = [sys.executable, str(ROOT / step.words[0]), *step.words[1:]]
        begin = time.monotonic()
        with self._log(step).open("w", encoding="utf-8") as file:
            code = subprocess.run(words, stdout=file, stderr=subprocess.STDOUT, env=environment, check=False).returncode
        return code if code or step.makes.exists() else -1, time.monotonic() - begin

    def _note(self, step: Step, status: str, seconds: float) -> None:
        """Remember, at once. ended: seconds since 1970."""
        self.state[step.name] = {
            "command": step.command, "needs": list(step.needs), "status": status, "seconds": round(seconds, 1),
            "ended": time.time(),
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
        print(*lines, sep="\n  ", file=sys.stderr, flush=True)
