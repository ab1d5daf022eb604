"""The answer to ``--help``: what the command is for, what can be chosen, three commands, where results go."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from omegaconf import OmegaConf

from tuna.console import as_typed, typed

# Groups that may be empty (null); any other is needed.
OPTIONAL = ("experiment", "debug")
_MANY = 20  # choices


@dataclass(frozen=True, slots=True)
class Program:
    """An entry point: what ``--help`` says of it, its primary config, and the function ``run(cfg)`` behind it.

    run, look: "package.module:function", imported only once the config is found right. look: is called with the config
    before run is imported, which takes seconds, and finds faults without. sweeps: whether it can run several times, by
    -m.
    """

    run: str
    config_name: str
    purpose: str
    examples: tuple[str, ...]
    results: str
    look: str | None = None
    sweeps: bool = True


def help_text(program: Program, folders: Sequence[Path]) -> str:
    """The text, under 60 lines of 120 columns."""
    lines = [*textwrap.wrap(program.purpose, 118), "", "Choices, one per group (group=choice):"]
    for group, choices in groups(folders, program.config_name).items():
        label = f"  {group:<11}"
        if group in (*OPTIONAL, "logger") or len(choices) > _MANY:  # names alone
            lines += textwrap.wrap(label + ", ".join(choices), 118, subsequent_indent=" " * 13)
        elif "/" not in group:
            width = max(map(len, choices))
            shown = [f"{choice:<{width}}  {summary(file)}" for choice, file in choices.items()]
            lines += [(lead + text)[:118].rstrip() for lead, text in zip_longest([label], shown, fillvalue=" " * 13)]
    completes = (
        f'The tab key completes after: eval "$(python {program.config_name}.py -sc install=bash)" (or zsh, fish).'
    )
    lines += [
        "",
        "--help KEY, --help GROUP or --help GROUP=CHOICE explains one (docs/keys.md: all); --cfg job --resolve: values",
        *([completes] if typed(program.config_name).endswith(".py") else []),  # Hydra's knows no ``tuna train``
        "Every key can be set (key=value); -m runs several values"
        + ("; debug=short tries two steps:" if "debug" in groups(folders, program.config_name) else ":"),
    ]
    lines += [f"  {example}" for example in program.examples]
    return as_typed("\n".join([*lines, "", *textwrap.wrap(program.results, 118)]))


def groups(folders: Sequence[Path], config_name: str | None = None) -> dict[str, dict[str, Path]]:
    """Config files by group and choice; a group of a group is ``hydra/launcher``. Earlier folders win, as in Hydra.

    config_name: only the groups in this primary config's defaults list (any folder's, since a user may have another).
    """
    found: dict[str, dict[str, Path]] = {}
    for folder in folders:
        for file in sorted(folder.rglob("*.yaml")):
            group = file.parent.relative_to(folder).as_posix()
            if group not in (".", "wandb"):  # W&B's own files of sweeps
                found.setdefault(group, {}).setdefault(file.stem, file)
    if config_name is None:
        return found
    named = set()
    for folder in folders:
        if (folder / f"{config_name}.yaml").is_file():
            entries = OmegaConf.select(OmegaConf.load(folder / f"{config_name}.yaml"), "defaults") or []
            named |= {key for entry in entries if OmegaConf.is_dict(entry) for key in entry}
    named.add("hydra")
    return {group: choices for group, choices in found.items() if {group, group.partition("/")[0]} & named}


def summary(file: Path) -> str:
    """What a choice is: its experiment's or stage's summary, else the file's first comment that is not Hydra's."""
    text = file.read_text(encoding="utf-8")
    for name in ("experiment", "stage") if "summary:" in text else ():
        if told := OmegaConf.select(OmegaConf.create(text), f"{name}.summary"):
            return str(told)
    comments = (line.lstrip("# ").strip() for line in text.splitlines() if line.startswith("#"))
    return next((line for line in comments if line and not line.startswith("@package")), "")
