"""The answer to ``--help``: what the command is for, what can be chosen, three commands, where results go."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

# Groups that may be empty (null); any other is needed.
OPTIONAL = ("experiment", "debug")


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
    lines = [*textwrap.wrap(program.purpose, 118), "", "Choices, one per group (group=choice):"]
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


def groups(folders: Sequence[Path], config_name: str | None = None) -> dict[str, dict[str, Path]]:
    """Config files by group and choice; a group of a group is ``hydra/launcher``. Earlier folders win, as in Hydra.

    config_name: only the groups in this primary config's defaults list (any folder's, since a user may have another).
    """
    found: dict[str, dict[str, Path]] = {}
    for folder in folders:
        for file in sorted(folder.rglob("*.yaml")):
            group = file.parent.relative_to(folder).as_posix()
            if group != ".":
                found.setdefault(group, {}).setdefault(file.stem, file)
    if config_name is None:
        return found
    primary = [file for folder in folders if (file := folder / f"{config_name}.yaml").is_file()]
    entries = [entry for file in primary for entry in _content(file).get("defaults", [])]
    named = {str(key) for entry in entries if isinstance(entry, dict) for key in entry}
    return {group: choices for group, choices in found.items() if group in named or "/" in group}


def summary(file: Path) -> str:
    """What a choice is: its experiment's or stage's summary, else the file's first comment that is not Hydra's."""
    text = file.read_text(encoding="utf-8")
    if "summary:" in text:
        content = _content(file)
        for name in ("experiment", "stage"):
            if isinstance(node := content.get(name), dict) and node.get("summary"):
                return str(node["summary"])
    comments = (line.lstrip("# ").strip() for line in text.splitlines() if line.startswith("#"))
    return next((line for line in comments if line and not line.startswith("@package")), "")


def _content(file: Path) -> Mapping[Any, Any]:
    content = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    return content if isinstance(content, dict) else {}
