"""The answer to ``--help``: what the command is for, what can be chosen, three commands, where results go."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tuna.config.groups import OPTIONAL, groups, summary


@dataclass(frozen=True, slots=True)
class Program:
    """An entry point: what ``--help`` says of it, its primary config, and the function ``run(cfg)`` behind it.

    run: "package.module:function", imported only once the config is found right.
    """

    run: str
    config_name: str
    purpose: str
    examples: tuple[str, ...]
    results: str


def help_text(program: Program, folders: Sequence[Path]) -> str:
    """The text, under 60 lines of 120 columns."""
    lines = [*textwrap.wrap(program.purpose, 118), "", "Choices, one a group (group=choice):"]
    for group, choices in groups(folders, program.config_name).items():
        if "/" in group:
            continue
        if group in OPTIONAL:  # names alone: there are many
            lines += textwrap.wrap(f"  {group:<11}{', '.join(choices)}", 118, subsequent_indent=" " * 13)
            continue
        width = max(len(choice) for choice in choices)
        label = f"  {group:<11}"
        for choice, file in choices.items():
            lines.append(f"{label}{choice:<{width}}  {summary(file)}"[:118].rstrip())
            label = " " * len(label)
    lines += ["", "Every key can be set (key=value); -m runs several values; --cfg job shows all keys:"]
    lines += [f"  {example}" for example in program.examples]
    return "\n".join([*lines, "", *textwrap.wrap(program.results, 118)])
