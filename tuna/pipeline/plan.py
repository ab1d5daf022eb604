"""From the steps of conf/pipeline/ to commands: what each makes, and which others it needs."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tuna.config.nearest import nearest
from tuna.errors import ConfigError

_FIELD = re.compile(r"\{(\w+)\}")
SYSTEMS = "systems"  # in a command: all models that answer, with commas, as a sweep takes them
MAKERS = ("train.py", "rank.py", "evaluate.py", "report.py")


@dataclass(frozen=True, slots=True)
class Step:
    """One command of one seed (or of all seeds together: ``report.py``).

    name: as ``s0/tuna_p``. words: the command after ``python``. needs: names of the steps that come first. makes: the
    file or folder that is there when it has succeeded.
    """

    name: str
    words: tuple[str, ...]
    needs: tuple[str, ...]
    makes: Path

    @property
    def command(self) -> str:
        """As a person types it."""
        return shlex.join(("python", *self.words))


def plan(steps: Mapping[str, str], values: Mapping[str, object], folder: Path, seeds: Sequence[int]) -> list[Step]:
    """The steps of every seed in an order that can be run, then those that are run once, for all seeds.

    ``{x}`` in a command is what step ``x`` makes, or a value. ``{systems}`` is all that train.py steps make but the
    reward model, with commas, as a sweep takes them. A ``report.py`` step is run once.

    Raises:
        ConfigError: an unknown program or name, or steps that need each other; all of them, a line each.

    >>> found = plan({"a": "train.py model.path={b}", "b": "train.py model.path=x"}, {}, Path("f"), [0])
    >>> [(step.name, step.needs) for step in found]
    [('s0/b', ()), ('s0/a', ('s0/b',))]
    >>> found[1].command
    'python train.py model.path=f/runs/s0/b seed=0 name=s0/a runs_dir=f/runs resume=auto'
    """
    _check(steps, values)
    found = []
    for seed in seeds:
        found += [_step(name, steps, values, folder, seed) for name in _ordered(steps) if not _once(steps[name])]
    every = tuple(step.name for step in found)
    for name in steps:
        if _once(steps[name]):
            words = (*_filled(steps[name], steps, values, folder, 0), *_ends("report.py", name, folder, 0))
            found.append(Step(name, words, every, folder / name / "report.html"))
    return found


def _check(steps: Mapping[str, str], values: Mapping[str, object]) -> None:
    wrong = []
    for name, command in steps.items():
        program = command.partition(" ")[0]
        if program not in MAKERS:
            wrong.append(f"steps.{name}: expected a command of {', '.join(MAKERS)}, got {program!r}")
        wrong += [
            f"steps.{name}: {{{field}}} is neither a step nor a value of sizes{nearest(field, [*steps, *values])}"
            for field in _FIELD.findall(command)
            if field not in (*steps, *values, SYSTEMS)
        ]
    if wrong:
        raise ConfigError("\n".join(wrong))
    _ordered(steps)


def _once(command: str) -> bool:
    return command.startswith("report.py")


def _needs(name: str, steps: Mapping[str, str]) -> list[str]:
    """The steps that a command names."""
    fields = _FIELD.findall(steps[name])
    named = [field for field in fields if field in steps]
    return list(dict.fromkeys([*named, *(_systems(steps) if SYSTEMS in fields else [])]))


def _systems(steps: Mapping[str, str]) -> list[str]:
    """Steps that tune a model that answers."""
    return [
        name for name, command in steps.items() if command.startswith("train.py") and "experiment=prm" not in command
    ]


def _ordered(steps: Mapping[str, str]) -> list[str]:
    """Names, each after those it needs; otherwise as they stand."""
    done: list[str] = []
    left = list(steps)
    while left:
        ready = next((name for name in left if all(need in done for need in _needs(name, steps))), None)
        if ready is None:
            raise ConfigError(f"steps: {', '.join(left)} need each other")
        done.append(ready)
        left.remove(ready)
    return done


def _step(name: str, steps: Mapping[str, str], values: Mapping[str, object], folder: Path, seed: int) -> Step:
    program = steps[name].partition(" ")[0]
    words = (*_filled(steps[name], steps, values, folder, seed), *_ends(program, name, folder, seed))
    needs = tuple(f"s{seed}/{need}" for need in _needs(name, steps))
    return Step(f"s{seed}/{name}", words, needs, _made(program, name, folder, seed))


def _filled(
    command: str, steps: Mapping[str, str], values: Mapping[str, object], folder: Path, seed: int
) -> tuple[str, ...]:
    """The command's words, with names replaced; a value of several words gives several."""

    def place(name: str) -> str:
        if name == SYSTEMS:
            return ",".join(map(place, _systems(steps)))
        if name in steps:
            return str(_made(steps[name].partition(" ")[0], name, folder, seed))
        return str(values[name])

    return tuple(shlex.split(_FIELD.sub(lambda field: place(field[1]), command)))


def _made(program: str, name: str, folder: Path, seed: int) -> Path:
    """What a step leaves behind."""
    if program == "train.py":
        return folder / "runs" / f"s{seed}" / name
    if program == "rank.py":
        return folder / "rankings" / f"s{seed}-{name}.jsonl"
    return folder / "results" / f"s{seed}" / name


def _ends(program: str, name: str, folder: Path, seed: int) -> tuple[str, ...]:
    """What every command of a program gets: the seed, and where it writes."""
    if program == "train.py":
        return f"seed={seed}", f"name=s{seed}/{name}", f"runs_dir={folder / 'runs'}", "resume=auto"
    if program == "rank.py":
        return f"seed={seed}", f"output={_made(program, name, folder, seed)}"
    if program == "evaluate.py":
        return f"seed={seed}", f"folder={_made(program, name, folder, seed)}"
    return (
        f"runs={folder / 'runs'}", f"rankings={folder / 'rankings'}", f"results={folder / 'results'}",
        f"output={folder / name}",
    )  # fmt: skip
