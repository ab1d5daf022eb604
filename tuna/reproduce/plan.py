"""From the steps of conf/pipeline/ to commands: what each makes, and which others it needs."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tuna.console import nearest
from tuna.errors import ConfigError

_FIELD = re.compile(r"\{(\w+)\}")
SYSTEMS = "systems"  # in a command: all models that answer, with commas, as a sweep takes them
ONCE = "report.py"
MAKERS = ("train.py", "rank.py", "evaluate.py", ONCE)


@dataclass(frozen=True, slots=True)
class Step:
    """One command of one seed (or of all seeds together: ``report.py``).

    name: as ``s0-tuna_p``. words: the command after ``python``. needs: names of the steps that come first. makes: the
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


@dataclass(frozen=True, slots=True)
class Recipe:
    """The steps as they are written, with the values that they name, and where all of it goes.

    systems: the steps whose models are measured.
    """

    steps: Mapping[str, str]
    values: Mapping[str, object]
    systems: Sequence[str]
    folder: Path

    def program(self, name: str) -> str:
        """What a step calls, such as ``train.py``."""
        return self.steps[name].partition(" ")[0]

    def fields(self, name: str) -> list[str]:
        """The names in braces in a step's command."""
        return _FIELD.findall(self.steps[name])

    def needs(self, name: str) -> list[str]:
        """The steps that a step names."""
        fields = self.fields(name)
        named = [field for field in fields if field in self.steps]
        return list(dict.fromkeys([*named, *(self.systems if SYSTEMS in fields else [])]))

    def made(self, name: str, seed: int) -> Path:
        """What a step leaves behind."""
        program = self.program(name)
        if program == "train.py":
            return self.folder / "runs" / f"s{seed}-{name}"
        if program == "rank.py":
            return self.folder / "rankings" / f"s{seed}-{name}.jsonl"
        return self.folder / "results" / f"s{seed}-{name}" if program == "evaluate.py" else self.folder / name

    def words(self, name: str, seed: int) -> tuple[str, ...]:
        """A step's command, with names replaced; a value of several words gives several."""

        def place(field: str) -> str:
            if field == SYSTEMS:
                return ",".join(str(self.made(system, seed)) for system in self.systems)
            return str(self.made(field, seed)) if field in self.steps else str(self.values[field])

        filled = shlex.split(_FIELD.sub(lambda field: place(field[1]), self.steps[name]))
        return (*filled, *self._ends(name, seed))

    def _ends(self, name: str, seed: int) -> tuple[str, ...]:
        """What every command of a program gets: the seed, and where it writes."""
        program, made = self.program(name), self.made(name, seed)
        if program == "train.py":
            return f"seed={seed}", f"name={made.name}", f"runs_dir={made.parent}", "resume=auto"
        if program == "rank.py":
            return f"seed={seed}", f"output={made}"
        if program == "evaluate.py":
            return f"seed={seed}", f"folder={made}"
        return (*(f"{kind}={self.folder / kind}" for kind in ("runs", "rankings", "results")), f"output={made}")


def plan(recipe: Recipe, seeds: Sequence[int]) -> list[Step]:
    """The steps of every seed in an order that can be run, then those that are run once, for all seeds.

    ``{x}`` in a command is what step ``x`` makes, or a value; ``{systems}`` all models that are measured, with commas,
    as a sweep takes them. A ``report.py`` step is run once.

    Raises:
        ConfigError: an unknown program or name, or steps that need each other; all of them, a line each.

    >>> steps = {"a": "train.py model.path={b}", "b": "train.py model.path=x"}
    >>> found = plan(Recipe(steps, {}, [], Path("f")), [0])
    >>> [(step.name, step.needs) for step in found]
    [('s0-b', ()), ('s0-a', ('s0-b',))]
    >>> found[1].command
    'python train.py model.path=f/runs/s0-b seed=0 name=s0-a runs_dir=f/runs resume=auto'
    """
    order = _ordered(recipe)
    found = [
        Step(
            f"s{seed}-{name}",
            recipe.words(name, seed),
            tuple(f"s{seed}-{need}" for need in recipe.needs(name)),
            recipe.made(name, seed),
        )
        for seed in seeds
        for name in order
        if recipe.program(name) != ONCE
    ]
    every = tuple(step.name for step in found)
    once = [name for name in order if recipe.program(name) == ONCE]
    return [*found, *(Step(name, recipe.words(name, 0), every, recipe.made(name, 0)) for name in once)]


def _ordered(recipe: Recipe) -> list[str]:
    """Names, each after those it needs; otherwise as they stand."""
    _check(recipe)
    done: list[str] = []
    left = list(recipe.steps)
    while left:
        ready = next((name for name in left if all(need in done for need in recipe.needs(name))), None)
        if ready is None:
            raise ConfigError(f"steps: {', '.join(left)} need each other")
        done.append(ready)
        left.remove(ready)
    return done


def _check(recipe: Recipe) -> None:
    known = [*recipe.steps, *recipe.values, SYSTEMS]
    wrong = [
        f"pipeline.steps.{name}: expected a command of {', '.join(MAKERS)}, got {recipe.program(name)!r}"
        for name in recipe.steps
        if recipe.program(name) not in MAKERS
    ]
    wrong += [
        f"pipeline.steps.{name}: {{{field}}} is neither a step nor a value of sizes{nearest(field, known)}"
        for name in recipe.steps
        for field in recipe.fields(name)
        if field not in known
    ]
    wrong += [
        f"pipeline.systems: {name} is no step{nearest(name, list(recipe.steps))}"
        for name in recipe.systems
        if name not in recipe.steps
    ]
    if wrong:
        raise ConfigError("\n".join(wrong))
