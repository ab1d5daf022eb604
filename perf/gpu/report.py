"""The page of what was measured: targets first, then each part's figures; "not measured" where there is nothing."""

from collections.abc import Sequence
from typing import Any

from perf.gpu.base import TARGETS, Row

HEAD = """# On a GPU

What only a GPU can show. `python -m perf.gpu` checks and measures it, in under nine minutes on one 80 GB card, and
writes this page and `gpu.json`; `--parts` names single parts. The tests run the same code on the CPU at tiny shapes.
[scorer.md](scorer.md#attention) says what happens on CUDA and why.
"""
PARTS = {
    "card": "The card",
    "exact": "Packed rows against plain rows",
    "kinds": "Reward model, LoRA, gradient checkpointing",
    "steps": "The ranking step against other ways",
    "recompiles": "Steps of changing lengths",
    "training": "Training, resume, export, sampling",
    "lora 7B": "A model of 7B's shape with LoRA",
    "shards 7B": "A model of 7B's shape by shards",
}
HIDDEN = ("target", "losses")


def page(found: dict[str, Any] | None) -> str:
    """The Markdown page of the JSON file; of None where nothing was ever measured."""
    parts: dict[str, Any] = (found or {}).get("parts", {})
    lines = [HEAD]
    if not parts:
        lines.append("**Not measured**: this project has had no GPU. To measure all of it: `python -m perf.gpu`.\n")
    else:
        where = f"{found['device']}{', tiny shapes: no figure here means anything' if found['tiny'] else ''}"  # type: ignore[index]
        lines.append(f"Measured {found['made']}, {where}.\n")  # type: ignore[index]
    rows = [row for part in parts.values() for row in part.get("rows", [])]
    lines += table([_target(name, text, rows) for name, text in TARGETS.items()])
    for name, title in PARTS.items():
        lines += [f"\n## {title}\n"]
        part = parts.get(name)
        if part is None:
            lines.append(f"Not measured; next: `python -m perf.gpu --parts {_quoted(name)}`.")
            continue
        seconds = f", {part['seconds']:.0f} s" if "seconds" in part else ""
        lines += [f"{part['status'].capitalize()}{seconds}.\n", *table(part.get("rows", []))]
    return "\n".join(lines) + "\n"


def _quoted(name: str) -> str:
    return f"'{name}'" if " " in name else name


def _target(name: str, text: str, rows: Sequence[Row]) -> Row:
    """A line of the targets: all of its rows have to reach it."""
    reached = [row["reached"] for row in rows if row.get("target") == name]
    verdict = "not measured" if not reached else "reached" if all(reached) else f"missed by {reached.count(False)}"
    return {"target": text, "verdict": verdict}


def table(rows: Sequence[Row]) -> list[str]:
    """A Markdown table with a column for each key that some row has."""
    shown = [{k: v for k, v in row.items() if k not in HIDDEN or "verdict" in row} for row in rows]
    keys = list(dict.fromkeys(key for row in shown for key in row))
    if not keys:
        return []
    head = ["| " + " | ".join(key.replace("_", " ") for key in keys) + " |", "|" + " --- |" * len(keys)]
    return head + ["| " + " | ".join(_cell(row.get(key)) for key in keys) + " |" for row in shown]


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "**no**"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, list):
        return ", ".join(_cell(item) for item in value)
    return "" if value is None else str(value).replace("|", "\\|")
