"""The model card: README.md of an exported model folder."""

import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from omegaconf import DictConfig

from tuna.files import write_text
from tuna.runs import RunFolder
from tuna.training.outcome import BASELINES, ROWS, Outcome, baselines_of, interval_of


def model_card(cfg: DictConfig, parts: Any, target: RunFolder, outcome: Outcome) -> str:
    """README.md of the model folder: what it is, from what, how, and how good; no path of this machine stands in it."""
    report = parts.data.report.to_dict()
    config = json.dumps(_without_paths(parts.config), indent=2, ensure_ascii=False, default=str)
    return f"""---
library_name: transformers
pipeline_tag: {"text-generation" if parts.module.answers else "text-classification"}
tags: [tuna, ranking, {"instruction-tuning" if parts.module.answers else "reward-model"}]
---
# {shorten(target.name)}

{"A model" if parts.module.answers else "A reward model"} tuned with Tuna
(stage `{cfg.stage.name}`: {cfg.stage.summary}), after the method of
"Tuna: Instruction Tuning using Feedback from Large Language Models" (EMNLP 2023).

- starting model: `{_model_name(parts.resolved)}`, fingerprint `{parts.resolved.fingerprint}`
- data: {report["train_lists"]} lists to train on, {report["held_out_lists"]} held out, sha256 `{parts.data.sha256}`
- prompt template: `{shorten(parts.template)}`
- {parts.total_steps} optimizer steps of {parts.data.batch_size} groups{_skipped(target)}
- peak learning rate {parts.module.lr:g}, seed {cfg.seed}

## Held-out figures

{held_out_table(outcome)}

## Last training figures

{_training_table(outcome)}

## Config

```json
{config}
```
"""


def _skipped(target: RunFolder) -> str:
    count = len(target.read().get("skipped_steps") or ())
    return f", {count} of them left out (trainer.nonfinite=skip)" if count else ""


def rewrite_card(target: RunFolder, text: str) -> None:
    """Put ``text`` in the place of the exported model's README.md."""
    write_text(target.model / "README.md", text)


def held_out_table(outcome: Outcome) -> str:
    """Markdown: every held-out figure before and after, with its interval and what needs no model."""
    before, after = outcome.before or {}, outcome.after or {}
    rows = []
    for key, words, form in ROWS:
        if key in after:
            was = form.format(before[key]) if key in before else "-"
            cells = [f"{words.strip()} (`val/{key}`)", was, form.format(after[key])]
            rows.append([*cells, *_beside(outcome, key)])
    if outcome.tasks:
        was, now = outcome.tasks
        tasks = f"greedy accuracy, {now.num_checkable} tasks (`val/task_accuracy`)"
        rows.append([tasks, f"{was.accuracy:.3f}", f"{now.accuracy:.3f}", "", "", ""])
        mark = "open-ended mark (`val/open_ended_mark`)"
        rows.append([mark, f"{was.open_ended:.3f}", f"{now.open_ended:.3f}", "", "", ""])
    if not rows:
        return "Nothing was held out, so nothing was measured."
    head = ["figure", "before", "after", "95% interval (after)", "length-only", "chance"]
    return "\n".join(_line(cells) for cells in [head, ["---", *["---:"] * 5], *rows])


def _beside(outcome: Outcome, key: str) -> list[str]:
    """Interval, length-only, chance; empty cells for a figure that has none of them."""
    interval, found = interval_of(outcome.after, key), baselines_of(outcome, key)
    if key != "pair_accuracy" and not interval and not found:
        return [""] * 3
    return [interval or "-", *(f"{found[name]:.3f}" if name in found else "-" for name in BASELINES.values())]


def _training_table(outcome: Outcome) -> str:
    # One step's pair accuracy has neither interval nor baseline; metrics.csv holds it.
    rows = [[name, f"{value:.4g}"] for name, value in sorted(outcome.last.items()) if name != "train/pair_accuracy"]
    if not rows:
        return "None: nothing was left to train when the run was resumed."
    return "\n".join(_line(cells) for cells in [["figure", "value"], ["---", "---:"], *rows])


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |".replace("|  |", "| |").replace("|  |", "| |")


def _model_name(resolved: Any) -> str:
    """The hub id and revision, or the folder's name; the model of a run has the run's name too."""
    if resolved.on_hub:
        return f"{resolved.source}@{resolved.revision}" if resolved.revision else str(resolved.source)
    folder = Path(resolved.source)
    return f"{folder.parent.name}/{folder.name}" if (folder.parent / "run.json").exists() else folder.name


def _without_paths(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_paths(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_paths(item) for item in value]
    return shorten(value) if isinstance(value, str | Path) else value


def shorten(value: str | Path) -> str:
    """A text as it is; an absolute path as its last two parts, less a home folder and the user's name.

    >>> shorten("/data/lists/a.jsonl"), shorten("/home/ann/runs"), shorten("runs/a"), shorten("owner/name")
    ('lists/a.jsonl', 'runs', 'runs/a', 'owner/name')
    """
    text = str(value)
    path: PurePosixPath | PureWindowsPath
    if re.match(r"[A-Za-z]:[\\/]", text):
        path = PureWindowsPath(text)
    elif text.startswith(("/", "~")):
        path = PurePosixPath(text)
    else:
        return text
    home = Path.home().parts
    parts = path.parts[1:]
    if path.parts[: len(home)] == home:
        parts = path.parts[len(home) :]
    elif parts[:1] in (("home",), ("Users",)):
        parts = parts[2:]
    return "/".join(parts[-2:]) or "."
