"""docs/keys.md, written from the code: ``python -m tools.keys docs/keys.md`` (make keys)."""

import sys
from collections.abc import Sequence
from pathlib import Path

from tuna.config.compose import CONF
from tuna.config.help import groups, summary
from tuna.config.keys import Key, group_keys, nested_keys, own_keys
from tuna.console import SCRIPTS

PROGRAMS = ("train", "rank", "evaluate", "report", "reproduce", "chat")


def page() -> str:
    """docs/keys.md."""
    lines = [
        "# Config keys", "",
        "Every key of every command: what it means, what it takes, its default. The same is said by `--help KEY` and",
        "`--help GROUP`. This page is written from the code by `make keys`: edit docstrings and YAML comments, not it.",
    ]  # fmt: skip
    for program in PROGRAMS:
        of = ", ".join(f"[{group}](#{group})" for group in groups([CONF], program) if "/" not in group)
        lines += [
            "",
            f"## {program}.py" if program in SCRIPTS else f"## tuna {program}",
            "",
            f"Its groups: {of or 'none'}.",
            "",
        ]
        lines += _table(own_keys([CONF], program))
    everything = {group: files for group, files in groups([CONF]).items() if "/" not in group}
    for group, files in everything.items():
        keys = group_keys(group, files)
        lines += ["", f"## {group}", "", *(f"- `{group}={choice}`: {summary(file)}" for choice, file in files.items())]
        lines += ["", *_table(keys)] if keys else []
        for key in keys:
            if inner := nested_keys(key.name):
                lines += ["", f"`{key.name}` can be a mapping:", "", *_table(inner)]
    return "\n".join([*lines, ""])


def _table(keys: Sequence[Key]) -> list[str]:
    several = any(key.choices for key in keys)
    lines = ["| key | meaning | takes | default |" + " with |" * several, "|---|---|---|---|" + "---|" * several]
    for key in keys:
        cells = [
            f"`{key.name}`",
            key.meaning,
            key.takes,
            f"`{key.default}`",
            *([", ".join(key.choices) or "all"] * several),
        ]
        lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells) + " |")
    return lines


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("error: expected one file to write: python -m tuna.config.keys docs/keys.md")
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
