"""What a run says of itself in the end: the before/after table, the figure, the model card."""

import csv
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
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

_BASELINES = {"length": "baseline: the longer", "random": "baseline: chance"}


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
    results = []
    for folder in (parts.resolved.source, str(target.model)):
        model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
        results.append(evaluate(model.eval(), AutoTokenizer.from_pretrained(folder), records))
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
    lines += ["", f"model    {target.model}", f"metrics  {target.path / 'run.json'}, {target.path / 'metrics.csv'}"]
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
    for name, value in outcome.baselines.items():
        lines.append(f"{'  ' + _BASELINES.get(name, name):28}{value['mean']:>10.3f}{value['mean']:>10.3f}")
    intervals = [
        figures.get("pair_accuracy_interval") if figures else None for figures in (outcome.before, outcome.after)
    ]
    if all(intervals):
        shown = "".join(f"{f'{low:.2f}-{high:.2f}':>10}" for low, high in intervals)  # type: ignore[misc]
        lines.append(f"{'  95% interval':28}{shown}")
    return lines


def draw(target: RunFolder) -> Path | None:
    """curves.png from metrics.csv: the parts of the loss, and pair accuracy, over the steps."""
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
        axis.set_xlabel("optimizer step")
        axis.set_ylabel(names[0].replace("_", " "))
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    figure.suptitle(target.name)
    path = target.path / "curves.png"
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path


def _points(rows: list[dict[str, str]], column: str) -> list[tuple[int, float]]:
    return [(int(row["step"]), float(row[column])) for row in rows if row.get(column)]


def model_card(cfg: DictConfig, parts: Any, target: RunFolder, outcome: Outcome) -> str:
    """README.md of the model folder: what it is, from what, how, and how good."""
    report = parts.data.report.to_dict()
    metrics = "\n".join(f"| {name} | {value:.4f} |" for name, value in sorted(outcome.metrics().items()))
    config = json.dumps(parts.config, indent=2, ensure_ascii=False, default=str)
    return f"""---
library_name: transformers
pipeline_tag: text-generation
tags: [tuna, ranking, instruction-tuning]
---
# {target.name}

A model tuned with Tuna (stage `{cfg.stage.name}`: {cfg.stage.summary}), after the method of
"Tuna: Instruction Tuning using Feedback from Large Language Models" (EMNLP 2023).

- starting model: `{Path(parts.resolved.source).name}`, fingerprint `{parts.resolved.fingerprint}`
- data: {report["train_lists"]} lists to train on, {report["held_out_lists"]} held out, sha256 `{parts.data.sha256}`
- prompt template: `{parts.template}`
- {parts.total_steps} optimizer steps of {parts.data.settings.batch_size} groups
- peak learning rate {parts.module.lr:g}, seed {cfg.seed}

## Metrics

`val/` is measured on held-out lists after training, `before/` on the same lists before it.

| metric | value |
|---|---|
{metrics}

## Config

```json
{config}
```
"""
