"""What a run says of itself in the end: the before/after table, the figure, the model card."""

import csv
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from omegaconf import DictConfig

from tuna.config.scale import is_tiny
from tuna.training.folder import RunFolder

# Shown in the table: key, words, format.
_ROWS = (
    ("pair_accuracy", "held-out pair accuracy", "{:.3f}"),
    ("v_best", "  mean v of the best", "{:.3f}"),
    ("v_worst", "  mean v of the worst", "{:.3f}"),
    ("margin_violations", "  pairs short of margin", "{:.3f}"),
    ("loss", "held-out loss", "{:.4f}"),
    ("loss_rank", "  ranking part", "{:.4f}"),
    ("loss_ce", "  cross-entropy part", "{:.4f}"),
)

BASELINES = {"length": "length-only", "random": "chance"}  # names in a data report, and what they are called


@dataclass(frozen=True, slots=True)
class Outcome:
    """Held-out figures before and after, baselines of the held-out lists, greedy accuracy on the embedded tasks."""

    before: dict[str, Any] | None
    after: dict[str, Any] | None
    baselines: dict[str, Any] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)
    tasks: tuple[Any, Any] | None = None  # tuna.benchmarks.elementary.ElementaryResult before, after

    def with_tasks(self, before: Any, after: Any) -> "Outcome":
        """The same with the greedy accuracy on the embedded tasks."""
        return replace(self, tasks=(before, after))

    def metrics(self) -> dict[str, float]:
        """Everything as one flat mapping of numbers: val/..., before/..., tasks/..., and the last training figures."""
        flat = dict(self.last)
        for prefix, figures in (("before", self.before), ("val", self.after)):
            flat |= {f"{prefix}/{k}": float(v) for k, v in (figures or {}).items() if isinstance(v, int | float)}
        if self.tasks:
            for prefix, result in (("before", self.tasks[0]), ("val", self.tasks[1])):
                flat[f"{prefix}/task_accuracy"] = result.accuracy
                flat[f"{prefix}/open_ended_mark"] = result.open_ended
        return flat


def first_lines(cfg: DictConfig, parts: Any, target: RunFolder, start_step: int) -> list[str]:
    """Scale, starting model, data, learning rate, batch, where the run goes."""
    training, data = parts.training, parts.data
    scale = "tiny (values for the embedded models)" if is_tiny(cfg) else "the paper's values"
    processes = f"{training.world_size} processes, " if training.world_size > 1 else ""
    return [
        f"stage   {cfg.stage.name}: {cfg.stage.summary}",
        f"scale   {scale}",
        f"model   {parts.resolved.source} ({parts.num_parameters / 1e6:.1f}M parameters)",
        f"        stage {cfg.stage.name} starts from {cfg.stage.start}",
        *[f"        {line}" if n else f"data    {line}" for n, line in enumerate(data.report.lines())],
        f"train   lr {parts.module.lr:g}, {data.settings.batch_size} groups a step, {parts.total_steps} steps, "
        f"{processes}{training.precision} on {'gpu' if training.on_gpu else 'cpu'}, seed {cfg.seed}",
        f"run     {target.path}" + (f"  (resumed at step {start_step})" if target.resumed else ""),
    ]


def wants_tasks(cfg: DictConfig, parts: Any) -> bool:
    """Whether the embedded tasks are measured: ``evaluate`` true, or auto at the tiny scale."""
    return cfg.evaluate is True or (cfg.evaluate == "auto" and is_tiny(cfg))


def measure_tasks(parts: Any, target: RunFolder) -> tuple[Any, Any]:
    """Greedy accuracy on the held-out embedded tasks: the starting model's, then the exported folder's."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from tuna.benchmarks.elementary import evaluate, held_out_records

    records = held_out_records()
    trust = parts.model.trust_remote_code
    results = []
    for folder in (parts.resolved.weights_folder, target.model):
        model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32", trust_remote_code=trust)
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust)
        template = "chat" if getattr(tokenizer, "chat_template", None) else parts.template
        results.append(evaluate(model.eval(), tokenizer, records, template=template))
    return results[0], results[1]


def last_lines(cfg: DictConfig, parts: Any, target: RunFolder, outcome: Outcome, figure: Path | None) -> list[str]:
    """The before/after table, and where everything is."""
    lines = ["", f"{'':28}{'before':>10}{'after':>10}{'change':>10}"]
    before, after = outcome.before or {}, outcome.after or {}
    for key, words, form in _ROWS:
        if key in after:
            lines.append(_row(words, before.get(key), after[key], form))
            if key == "pair_accuracy":
                lines += _baselines(outcome)
    if outcome.tasks:
        was, now = outcome.tasks
        lines.append(_row(f"greedy accuracy, {now.num_checkable} tasks", was.accuracy, now.accuracy, "{:.3f}"))
        lines.append(_row("open-ended mark", was.open_ended, now.open_ended, "{:.3f}"))
    if len(lines) == 2:
        lines = ["", "nothing was held out, so nothing was measured; see datamodule.held_out and val_path"]
    metrics = [target.path / "run.json", *[path for path in [target.path / "metrics.csv"] if path.exists()]]
    lines += ["", f"model    {target.model}", f"metrics  {', '.join(map(str, metrics))}"]
    if figure:
        lines.append(f"figure   {figure}")
    tiny = " scale=tiny" if is_tiny(cfg) else " datamodule.path=FILE"
    lines.append(f"next     python train.py stage=<stage> model.path={target.path}{tiny}")
    return lines


def _row(words: str, before: float | None, after: float, form: str) -> str:
    was = form.format(before) if before is not None else "-"
    change = f"{after - before:+.3f}" if before is not None else "-"
    return f"{words:28}{was:>10}{form.format(after):>10}{change:>10}"


def _baselines(outcome: Outcome) -> list[str]:
    lines = []
    for name, value in _means(outcome.baselines).items():
        lines.append(f"{f'  baseline: {BASELINES.get(name, name)}':28}{value:>10.3f}{value:>10.3f}")
    intervals = [_interval(figures) for figures in (outcome.before, outcome.after)]
    if any(intervals):
        lines.append(f"{'  95% interval':28}" + "".join(f"{shown or '-':>10}" for shown in intervals))
    return lines


def _means(baselines: Mapping[str, Any]) -> dict[str, float]:
    """pair_accuracy of each baseline, by name; without those that nothing could be measured for."""
    means = {name: value["mean"] for name, value in baselines.items()}
    return {name: float(mean) for name, mean in means.items() if mean is not None and math.isfinite(mean)}


def _interval(figures: Mapping[str, Any] | None) -> str:
    low, high = (figures or {}).get("pair_accuracy_interval") or (None, None)
    return "" if low is None or high is None else f"{low:.2f}-{high:.2f}"


def draw(target: RunFolder) -> Path | None:
    """curves.png from metrics.csv: the parts of the loss, and pair accuracy, over the steps.

    Pair accuracy with what run.json holds of it: baselines as dotted lines, intervals as bars before and after.
    """
    source = target.path / "metrics.csv"
    if not source.exists():
        return None
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with source.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    panels = [
        names for names in (("loss", "loss_rank", "loss_ce"), ("pair_accuracy",)) if _points(rows, f"train/{names[0]}")
    ]
    if not panels:
        return None
    figure, axes = plt.subplots(1, len(panels), figsize=(5.5 * len(panels), 3.8), squeeze=False, layout="constrained")
    for axis, names in zip(axes[0], panels, strict=True):
        for index, name in enumerate(names):
            train, val = _points(rows, f"train/{name}"), _points(rows, f"val/{name}")
            colour = f"C{index}"
            if train:
                axis.plot(*zip(*train, strict=True), ".-", color=colour, label=f"train {name}", linewidth=1.5)
            if val:
                axis.plot(*zip(*val, strict=True), "o--", color=colour, label=f"held-out {name}", alpha=0.7)
        if names == ("pair_accuracy",):
            _draw_baselines(axis, target, _points(rows, "val/pair_accuracy"))
        axis.set_xlabel("optimizer step")
        axis.set_ylabel(names[0].replace("_", " "))
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    figure.suptitle(_short(target.name))
    path = target.path / "curves.png"
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path


def _draw_baselines(axis: Any, target: RunFolder, held_out: list[tuple[int, float]]) -> None:
    written = target.read()
    for index, (name, mean) in enumerate(_means(written.get("baselines") or {}).items()):
        axis.axhline(mean, linestyle=":", linewidth=0.8, color=f"C{index + 2}", label=BASELINES.get(name, name))
    for key, points in (("before", held_out[:1]), ("after", held_out[-1:])):
        low, high = (written.get(key) or {}).get("pair_accuracy_interval") or (None, None)
        if points and low is not None and high is not None:
            axis.vlines(points[0][0], low, high, color="C0", alpha=0.4, linewidth=2)


def _points(rows: list[dict[str, str]], column: str) -> list[tuple[int, float]]:
    return [(int(row["step"]), float(row[column])) for row in rows if row.get(column)]


def model_card(cfg: DictConfig, parts: Any, target: RunFolder, outcome: Outcome) -> str:
    """README.md of the model folder: what it is, from what, how, and how good; no path of this machine stands in it."""
    report = parts.data.report.to_dict()
    config = json.dumps(_without_paths(parts.config), indent=2, ensure_ascii=False, default=str)
    return f"""---
library_name: transformers
pipeline_tag: text-generation
tags: [tuna, ranking, instruction-tuning]
---
# {_short(target.name)}

A model tuned with Tuna (stage `{cfg.stage.name}`: {cfg.stage.summary}), after the method of
"Tuna: Instruction Tuning using Feedback from Large Language Models" (EMNLP 2023).

- starting model: `{_model_name(parts.resolved)}`, fingerprint `{parts.resolved.fingerprint}`
- data: {report["train_lists"]} lists to train on, {report["held_out_lists"]} held out, sha256 `{parts.data.sha256}`
- prompt template: `{_short(parts.template)}`
- {parts.total_steps} optimizer steps of {parts.data.settings.batch_size} groups
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


def rewrite_card(target: RunFolder, text: str) -> None:
    """Put ``text`` in the place of the exported model's README.md; a reader sees the old one or the new one."""
    path = target.model / "README.md"
    temporary = path.with_name("README.md.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def held_out_table(outcome: Outcome) -> str:
    """Markdown: every held-out figure before and after; pair accuracy with its interval and what needs no model."""
    before, after, means = outcome.before or {}, outcome.after or {}, _means(outcome.baselines)
    length, chance = (f"{means[name]:.3f}" if name in means else "-" for name in ("length", "random"))
    rows = []
    for key, words, form in _ROWS:
        if key in after:
            was = form.format(before[key]) if key in before else "-"
            cells = [f"{words.strip()} (`val/{key}`)", was, form.format(after[key])]
            beside = [_interval(after) or "-", length, chance] if key == "pair_accuracy" else [""] * 3
            rows.append([*cells, *beside])
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
    return _short(value) if isinstance(value, str | Path) else value


def _short(value: str | Path) -> str:
    """A text as it is; an absolute path as its last two parts, less a home folder and the user's name.

    >>> _short("/data/lists/a.jsonl"), _short("/home/ann/runs"), _short("runs/a"), _short("owner/name")
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
