"""From the steps of conf/pipeline/ to commands: what each makes, and which others it needs."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from tuna.console import nearest
from tuna.errors import ConfigError

_FIELD = re.compile(r"\{(\w+)\}")
SYSTEMS = "systems"  # in a command: all models that answer, with commas, as a sweep takes them
ONCE = "report.py"
# By program: what a step leaves behind, and the arguments that every command of it gets.
_PROGRAMS = {
    "train.py": ("runs/s{seed}-{name}", "seed={seed} name={made.name} runs_dir={made.parent} resume=auto"),
    "rank.py": ("rankings/s{seed}-{name}.jsonl", "seed={seed} output={made}"),
    "evaluate.py": ("results/s{seed}-{name}", "seed={seed} folder={made}"),
    ONCE: ("{name}", "runs={folder}/runs rankings={folder}/rankings results={folder}/results output={made}"),
}


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


@dataclass(frozen=True, slots=True)
class Recipe:
    """The steps as they are written, with the values that they name, and where all of it goes."""

    steps: Mapping[str, str]
    values: Mapping[str, object]
    systems: Sequence[str]  # the steps whose models are measured
    folder: Path

    def program(self, name: str) -> str:
        """What a step calls, such as ``train.py``."""
        return self.steps[name].partition(" ")[0]

    def needs(self, name: str) -> list[str]:
        """The steps that a step names."""
        fields = _FIELD.findall(self.steps[name])
        named = [field for field in fields if field in self.steps]
        return list(dict.fromkeys([*named, *(self.systems if SYSTEMS in fields else [])]))

    def made(self, name: str, seed: int) -> Path:
        """What a step leaves behind."""
        return self.folder / _PROGRAMS[self.program(name)][0].format(seed=seed, name=name)

    def words(self, name: str, seed: int) -> tuple[str, ...]:
        """A step's command, with names replaced; a value of several words gives several."""
        made = {step: str(self.made(step, seed)) for step in self.steps}
        filled = {**self.values, **made, SYSTEMS: ",".join(made[system] for system in self.systems)}
        typed = shlex.split(_FIELD.sub(lambda match: str(filled[match[1]]), self.steps[name]))
        ends = _PROGRAMS[self.program(name)][1].split(" ")
        return (*typed, *(end.format(seed=seed, made=self.made(name, seed), folder=self.folder) for end in ends))


def plan(recipe: Recipe, seeds: Sequence[int]) -> list[Step]:
    """The steps of every seed in an order that can be run, then those that are run once, for all seeds.

    ``{x}`` in a command is what step ``x`` makes, or a value; ``{systems}`` all models that are measured, with commas,
    as a sweep takes them. A ``report.py`` step is run once.

    Raises: ConfigError for unknown programs and names, a line each, or for steps that need each other.

    >>> steps = {"a": "train.py model.path={b}", "b": "train.py model.path=x"}
    >>> found = plan(Recipe(steps, {}, [], Path("f")), [0])
    >>> [(step.name, step.needs) for step in found]
    [('s0-b', ()), ('s0-a', ('s0-b',))]
    >>> found[1].command
    'python train.py model.path=f/runs/s0-b seed=0 name=s0-a runs_dir=f/runs resume=auto'
    """
    _check(recipe)
    try:
        order = list(TopologicalSorter({name: recipe.needs(name) for name in recipe.steps}).static_order())
    except CycleError as error:
        raise ConfigError(f"steps: {', '.join(sorted(set(error.args[1])))} need each other") from None
    found = []
    for seed in seeds:
        for name in order:
            if recipe.program(name) != ONCE:
                needs = tuple(f"s{seed}-{need}" for need in recipe.needs(name))
                found.append(Step(f"s{seed}-{name}", name, recipe.words(name, seed), needs, recipe.made(name, seed)))
    every = tuple(step.name for step in found)
    once = [name for name in order if recipe.program(name) == ONCE]
    return [*found, *(Step(name, name, recipe.words(name, 0), every, recipe.made(name, 0)) for name in once)]


def _check(recipe: Recipe) -> None:
    known = [*recipe.steps, *recipe.values, SYSTEMS]
    wrong = [
        f"pipeline.systems: {name} is no step{nearest(name, list(recipe.steps))}"
        for name in recipe.systems
        if name not in recipe.steps
    ]
    for name, command in recipe.steps.items():
        if (program := recipe.program(name)) not in _PROGRAMS:
            wrong.append(f"pipeline.steps.{name}: expected a command of {', '.join(_PROGRAMS)}, got {program!r}")
        wrong += [
            f"pipeline.steps.{name}: {{{field}}} is neither a step nor a value of sizes{nearest(field, known)}"
            for field in _FIELD.findall(command)
            if field not in known
        ]
    if wrong:
        raise ConfigError("\n".join(wrong))
