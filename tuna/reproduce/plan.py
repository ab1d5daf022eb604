"""From the steps of conf/pipeline/ to commands: what each makes, and which others it needs."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from tuna.console import nearest
from tuna.errors import ConfigError

_FIELD = re.compile(r"\{(\w+)\}")
SYSTEMS = "systems"
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


def plan(
    steps: Mapping[str, str], values: Mapping[str, object], systems: Sequence[str], folder: Path, seeds: Sequence[int]
) -> list[Step]:
    """The steps of every seed in an order that can be run, then those that are run once, for all seeds.

    steps: commands by name, in which ``{x}`` is what step ``x`` makes, or a value; ``{systems}`` all models that are
    measured, with commas, as a sweep takes them. A value of several words gives several. A ``report.py`` step is run
    once. systems: the steps whose models are measured. folder: where all of it goes.

    Raises: ConfigError for unknown programs and names, a line each, or for steps that need each other.

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
            typed = shlex.split(_FIELD.sub(lambda match, filled=filled: str(filled[match[1]]), steps[name]))
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
