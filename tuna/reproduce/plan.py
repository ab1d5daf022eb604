"""A pipeline's steps as commands: what each makes, what it needs, in an order that can be run."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from types import MappingProxyType

from tuna.config.arguments import LITERAL
from tuna.console import nearest
from tuna.errors import ConfigError
from tuna.secrets import HIDDEN, secret_in

_FIELD = re.compile(r"\{(?:(best|jobs):)?(\w+)\}")
SYSTEMS = "systems"  # in a command: all models that are measured
ONCE = "report.py"
# By program: what a step leaves behind, and the arguments that every command of it gets.
_PROGRAMS = {
    "train.py": ("runs/s{seed}-{name}", "seed={seed} name={made.name} runs_dir={made.parent} resume=auto"),
    "rank.py": ("rankings/s{seed}-{name}.jsonl", "seed={seed} output={made}"),
    "rank.py best": ("rankings/s{seed}-{name}.jsonl", "{made}"),
    "rank.py clear": ("rankings/s{seed}-{name}.jsonl", "{made}"),
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
    earlier: tuple[Path, ...] = ()  # of a round: the results of the start and of the rounds before

    @property
    def command(self) -> str:
        """As a person types it."""
        return shlex.join(("python", *self.words))


def plan(
    steps: Mapping[str, str], values: Mapping[str, object], systems: Sequence[str], folder: Path, seeds: Sequence[int],
    once: Sequence[str] = (), earlier: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> list[Step]:  # fmt: skip
    """The steps of every seed in an order that can be run, then those that are run once, for all seeds.

    steps: commands by name, in which ``{x}`` is what step ``x`` makes, or a value; ``{systems}`` all models that are
    measured, with commas, as a sweep takes them; ``{jobs:x}`` the runs of the sweep ``x``; ``{best:x}`` the settings of
    the runs that did best in the results ``x`` (``losses.settle``). A value of several words gives several. A
    ``report.py`` step is run once. systems: the steps whose models are measured. folder: where all of it goes. once:
    steps that the first seed does for all. earlier: of a round's step, those that measure the rounds before. A
    ConfigError tells unknown programs and names, a line each, or steps that need each other.

    >>> found = plan({"a": "train.py model.path={b}", "b": "train.py model.path=x"}, {}, [], Path("f"), [0])
    >>> [(step.name, step.needs) for step in found]
    [('s0-b', ()), ('s0-a', ('s0-b',))]
    >>> found[1].command
    'python train.py model.path=f/runs/s0-b seed=0 name=s0-a runs_dir=f/runs resume=auto'
    """
    programs = {name: _program(command) for name, command in steps.items()}
    fields = {name: fields_of(command) for name, command in steps.items()}
    known = [*steps, *values, SYSTEMS]
    wrong = [
        f"pipeline.systems: {name} is no step{nearest(name, list(steps))}" for name in systems if name not in steps
    ]
    for name, program in programs.items():
        if program not in _PROGRAMS:
            wrong.append(f"pipeline.steps.{name}: expected a command of {', '.join(_PROGRAMS)}, got {program!r}")
    for field in dict.fromkeys(field for named in fields.values() for field in named if field not in known):
        first, *others = (name for name, named in fields.items() if field in named)
        more = f" (and {len(others)} more steps)" if others else ""
        wrong.append(
            f"pipeline.steps.{first}{more}: {{{field}}} is neither a step nor a value of sizes{nearest(field, known)}"
        )
    if wrong:
        raise ConfigError("\n".join(wrong))
    needs = {
        name: list(
            dict.fromkeys(
                [*(f for f in named if f in steps), *(systems if SYSTEMS in named else ()), *earlier.get(name, ())]
            )
        )
        for name, named in fields.items()
    }
    try:
        order = list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        raise ConfigError(f"steps: {', '.join(sorted(set(error.args[1])))} need each other") from None
    found: list[Step] = []
    at_the_end: dict[str, Step] = {}
    for seed in seeds:
        of = {name: seeds[0] if name in once else seed for name in steps}  # whose seed's it is
        full = {name: f"s{of[name]}-{name}" for name in steps}
        made = {n: folder / _PROGRAMS[program][0].format(seed=of[n], name=n) for n, program in programs.items()}
        filled = {**values, **made, SYSTEMS: ",".join(str(made[system]) for system in systems)}
        for name in order:
            typed = _words(steps[name], filled)
            own = {word.partition("=")[0] for word in typed}  # a step may have seeds or folders of its own
            ends = [end for end in _PROGRAMS[programs[name]][1].split(" ") if end.partition("=")[0] not in own]
            words = (*typed, *(end.format(seed=seed, made=made[name], folder=folder) for end in ends))
            if programs[name] == ONCE:
                at_the_end.setdefault(name, Step(name, name, words, (), made[name]))
            elif of[name] == seed:
                before = tuple(made[step] for step in earlier.get(name, ()))
                found.append(Step(full[name], name, words, tuple(full[n] for n in needs[name]), made[name], before))
    every = tuple(step.name for step in found)
    return [*found, *(replace(step, needs=every) for step in at_the_end.values())]


def fields_of(command: str) -> list[str]:
    """The names in braces of a pipeline's command, in their order.

    >>> fields_of("train.py model.path={sft} {best:tried} {train}")
    ['sft', 'tried', 'train']
    """
    return [field for _, field in _FIELD.findall(command)]


def _program(command: str) -> str:
    """The program that a command names, with its tool where it has one."""
    words = command.split(" ", 2)
    tool = " ".join(words[:2])
    return tool if tool in _PROGRAMS else words[0]


def _words(command: str, filled: Mapping[str, object]) -> list[str]:
    def fill(match: re.Match[str]) -> str:
        return f"<{match[1]}:{filled[match[2]]}>" if match[1] else str(filled[match[2]])

    return shlex.split(_FIELD.sub(fill, command))


def chosen(steps: list[Step], only: Sequence[str] | None) -> list[Step]:
    """The steps named, with or without their seed, and all that they need; a ConfigError where there are none such."""
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


def refuse_secrets(steps: Sequence[Step]) -> None:
    """Raise a ConfigError for a key in a file of sizes or of a pipeline, where no override was there to be refused."""
    found = [(step.name, key) for step in steps for word in step.words if (key := secret_in(word)) is not None]
    if found:
        raise ConfigError("\n".join(f"{name}: {key}={HIDDEN}: {LITERAL}" for name, key in found))
