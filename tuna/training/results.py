"""What a run leaves besides its model: the final figures, curves.png, the model card, and answers before and after."""

import csv
import json
import logging
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from omegaconf import DictConfig
from transformers import AutoModelForCausalLM, AutoTokenizer

from tuna.config.compose import on_embedded
from tuna.console import Progress
from tuna.data.encode import Encoder
from tuna.data.files import write_jsonl
from tuna.data.messages import transcript
from tuna.files import whole
from tuna.inference.elementary import ElementaryResult, held_out_records
from tuna.inference.generate import greedy_answers, measure_elementary
from tuna.models.loading import grow
from tuna.runs import RunFolder, as_written
from tuna.secrets import clean
from tuna.training.run import Components

log = logging.getLogger("tuna")
MAX_NEW_TOKENS = 64  # of a sample
_SAMPLES = "samples.jsonl"
_SHOWN = 2000  # letters of a text in a table
_ROWS = (  # key, title, format
    ("pair_accuracy", "held-out pair accuracy", ".3f"),
    ("pair_accuracy_balanced", "  balanced in length", ".3f"),
    ("kendall_tau", "held-out Kendall's tau-b", ".3f"),
    ("best_of_n", "held-out best of N", ".3f"),
    ("v_best", "  mean v of the best", ".3f"),
    ("v_worst", "  mean v of the worst", ".3f"),
    ("margin_violations", "  pairs short of margin", ".3f"),
    ("loss", "held-out loss", ".4f"),
    ("loss_rank", "  ranking part", ".4f"),
    ("loss_ce", "  cross-entropy part", ".4f"),
    ("task_accuracy", "greedy accuracy, {tasks} tasks", ".3f"),
    ("open_ended_mark", "open-ended mark", ".3f"),
)
_BASELINES = {"length": "length-only", "random": "chance"}  # names in a data report, and what they are called
_NAMES = tuple(_BASELINES.values())


@dataclass(frozen=True, slots=True)
class Row:
    """A figure before and after, as text, with its 95% intervals, and what needs no model, by name."""

    key: str
    title: str
    before: str
    after: str
    change: str
    intervals: tuple[str, str]
    baselines: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Held-out figures before and after, baselines of the held-out lists, the last training figures."""

    before: dict[str, Any] | None
    after: dict[str, Any] | None
    baselines: Mapping[str, Any] = field(default_factory=dict)
    last: Mapping[str, float] = field(default_factory=dict)
    tasks: tuple[ElementaryResult, ElementaryResult] | None = None  # the embedded ones', where they were measured

    def _figures(self, number: int) -> dict[str, Any]:
        """Everything that was measured before (0) or after (1)."""
        figures = dict((self.before, self.after)[number] or {})
        if self.tasks:
            result = self.tasks[number]
            figures |= {"task_accuracy": result.accuracy, "open_ended_mark": result.open_ended}
        return figures

    def metrics(self) -> dict[str, float]:
        """Everything as one flat mapping of numbers: val/..., before/..., and the last training figures."""
        flat = dict(self.last)
        for number, prefix in enumerate(("before", "val")):
            flat |= {f"{prefix}/{k}": float(v) for k, v in self._figures(number).items() if isinstance(v, int | float)}
        return flat

    def rows(self) -> list[Row]:
        """The table of all that was measured on the held-out part."""
        rows, before, after = [], self._figures(0), self._figures(1)
        for key, title, form in _ROWS:
            if key in after:
                title = title.format(tasks=self.tasks and self.tasks[0].num_checkable)
                was, now = before.get(key), after[key]
                cells = ("-", "-") if was is None else (f"{was:{form}}", f"{now - was:+.3f}")
                intervals = (_interval(before, key), _interval(after, key))
                rows.append(Row(key, title, cells[0], f"{now:{form}}", cells[1], intervals, self._baselines(key)))
        return rows

    def _baselines(self, key: str) -> dict[str, float]:
        """pair_accuracy's are in the data report; those of other figures are measured with them: <key>_chance."""
        if key == "pair_accuracy":
            return named_baselines(self.baselines)
        found = {name: (self.after or {}).get(f"{key}_{name.replace('-', '_')}") for name in _NAMES}
        return {name: float(value) for name, value in found.items() if value is not None}


def _interval(figures: Mapping[str, Any], key: str) -> str:
    low, high = figures.get(f"{key}_interval") or (None, None)
    return "" if low is None or high is None else f"{low:.2f}-{high:.2f}"


def named_baselines(baselines: Mapping[str, Any]) -> dict[str, float]:
    """pair_accuracy of each baseline of a data report, by what it is called; without those that could not be measured.

    >>> named_baselines({"length": {"mean": 0.4}, "random": {"mean": None}})
    {'length-only': 0.4}
    """
    means = {_BASELINES.get(name, name): value["mean"] for name, value in baselines.items()}
    return {name: float(mean) for name, mean in means.items() if mean is not None and math.isfinite(mean)}


def draw_curves(target: RunFolder) -> Path | None:
    """Draw curves.png from metrics.csv: the parts of the loss, and pair accuracy with what run.json has of it."""
    source = target.path / "metrics.csv"
    if not source.exists():
        return None
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with source.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    drawn = (("loss", "loss_rank", "loss_ce"), ("pair_accuracy",))
    panels = [names for names in drawn if _points(rows, f"train/{names[0]}")]
    if not panels:
        return None
    figure, axes = plt.subplots(1, len(panels), figsize=(5.5 * len(panels), 3.8), squeeze=False, layout="constrained")
    for axis, names in zip(axes[0], panels, strict=True):
        for index, name in enumerate(names):
            for part, title, style in (("train", "train", ".-"), ("val", "held-out", "o--")):
                if points := _points(rows, f"{part}/{name}"):
                    axis.plot(*zip(*points, strict=True), style, color=f"C{index}", label=f"{title} {name}")
        if names == ("pair_accuracy",):
            _draw_baselines(axis, target.read(), _points(rows, "val/pair_accuracy"))
        axis.set_xlabel("optimizer step")
        axis.set_ylabel(names[0].replace("_", " "))
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)  # over no line
    figure.suptitle(shorten(target.name))
    path = target.path / "curves.png"
    with whole(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
    plt.close(figure)
    return path


def _draw_baselines(axis: Any, written: Mapping[str, Any], held_out: list[tuple[int, float]]) -> None:
    for index, (name, mean) in enumerate(named_baselines(written.get("baselines") or {}).items()):
        axis.axhline(mean, linestyle=":", linewidth=0.8, color=f"C{index + 2}", label=name)
    for key, points in (("before", held_out[:1]), ("after", held_out[-1:])):
        low, high = (written.get(key) or {}).get("pair_accuracy_interval") or (None, None)
        if points and low is not None and high is not None:
            axis.vlines(points[0][0], low, high, color="C0", alpha=0.4, linewidth=2)


def _points(rows: list[dict[str, str]], column: str) -> list[tuple[int, float]]:
    return [(int(row["step"]), float(row[column])) for row in rows if row.get(column)]


def model_card(parts: Components, target: RunFolder, outcome: Outcome) -> str:
    """README.md of the model folder: what it is, from what, how, and how good; no path of this machine stands in it."""
    report, stage = parts.data.report.to_dict(), parts.cfg.stage
    revision = f"@{parts.resolved.revision}" if parts.resolved.revision else ""
    skipped = len(target.read().get("skipped_steps") or ())
    # One step's pair accuracy has neither interval nor baseline; metrics.csv holds it.
    last = [[name, f"{value:.4g}"] for name, value in sorted(outcome.last.items()) if name != "train/pair_accuracy"]
    return f"""---
library_name: transformers
pipeline_tag: {"text-generation" if parts.module.answers else "text-classification"}
tags: [tuna, ranking, {"instruction-tuning" if parts.module.answers else "reward-model"}]
---
# {shorten(target.name)}

{"A model" if parts.module.answers else "A reward model"} tuned with Tuna
(stage `{stage.name}`: {stage.summary}), after the method of
"Tuna: Instruction Tuning using Feedback from Large Language Models" (EMNLP 2023).

- starting model: `{shorten(parts.resolved.source)}{revision}`, fingerprint `{parts.resolved.fingerprint}`
- data: {report["train_lists"]} lists to train on, {report["held_out_lists"]} held out, sha256 `{parts.data.sha256}`
- prompt template: `{shorten(parts.template)}`
- {parts.total_steps} optimizer steps of {parts.data.batch_size} groups\
{f", {skipped} of them left out (trainer.nonfinite=skip)" if skipped else ""}
- peak learning rate {parts.module.lr:g}, seed {parts.cfg.seed}

## Held-out figures

{held_out_table(outcome) or "Nothing was held out, so nothing was measured."}

## Last training figures

{_table(["figure", "value"], last) or "None: nothing was left to train when the run was resumed."}

## Config

```json
{json.dumps(clean(as_written(parts.config), shorten), indent=2, ensure_ascii=False)}
```
"""


def held_out_table(outcome: Outcome) -> str:
    """Markdown: every held-out figure before and after, with its interval and baselines; empty where there is none."""
    rows = []
    for row in outcome.rows():
        cells = [row.intervals[1], *(f"{row.baselines[name]:.3f}" if name in row.baselines else "" for name in _NAMES)]
        if row.key == "pair_accuracy" or any(cells):
            cells = [cell or "-" for cell in cells]
        rows.append([f"{row.title.strip()} (`val/{row.key}`)", row.before, row.after, *cells])
    return _table(["figure", "before", "after", "95% interval (after)", *_NAMES], rows)


def _table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, nothing without rows."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("".join(f"| {cell} " if cell else "| " for cell in cells) + "|" for cells in lines) if rows else ""


def shorten(value: str | Path) -> str:
    """A text as it is; an absolute path as its last two parts, less a home folder and the user's name.

    >>> shorten("/data/lists/a.jsonl"), shorten("/home/ann/runs"), shorten("runs/a"), shorten("owner/name")
    ('lists/a.jsonl', 'runs', 'runs/a', 'owner/name')
    """
    text, home = str(value), Path.home().parts
    if re.match(r"[A-Za-z]:[\\/]", text):
        root, *parts = PureWindowsPath(text).parts
    elif text.startswith(("/", "~")):
        root, *parts = PurePosixPath(text).parts
    else:
        return text
    if (root, *parts)[: len(home)] == home:
        parts = parts[len(home) - 1 :]
    elif parts[:1] in (["home"], ["Users"]):
        parts = parts[2:]
    return "/".join(parts[-2:]) or "."


def wants_tasks(cfg: DictConfig) -> bool:
    """Whether the embedded tasks are measured. They say nothing of a model that learned from other data, so there they
    have to be asked for.

    >>> from tuna.config.compose import compose
    >>> [wants_tasks(compose(["model=tiny", *words])) for words in ([], ["datamodule.path=F"])]
    [True, False]
    >>> wants_tasks(compose(["model=tiny", "datamodule.path=F", "evaluate=true"]))
    True
    """
    return cfg.evaluate is True or (cfg.evaluate == "auto" and on_embedded(cfg))


def measure_tasks(parts: Components, target: RunFolder) -> tuple[ElementaryResult, ElementaryResult]:
    """Greedy accuracy on the held-out embedded tasks: the starting model's, then the exported folder's."""

    def measure(folder: Path) -> ElementaryResult:
        model = _load(folder, parts, "float32")
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=parts.model.trust_remote_code)
        template = "chat" if getattr(tokenizer, "chat_template", None) else parts.template
        return measure_elementary(model, tokenizer, records, template=template, progress=progress)

    records = held_out_records()
    progress = Progress("answers", 2 * len(records))
    log.info(f"tasks: both models answer {len(records)} embedded questions; evaluate=false leaves this out")
    before, after = measure(parts.resolved.weights_folder), measure(target.model)
    progress.close()
    write_samples(target, records, before.answers, after.answers)
    return before, after


def generate_samples(parts: Components, target: RunFolder, count: int) -> None:
    """Have both models answer the first ``count`` held-out instructions that fit, greedily, and write samples.jsonl."""
    on_gpu = parts.training.on_gpu
    encoder = Encoder(parts.tokenizer, parts.data.template, parts.data.template_args)
    room = (parts.resolved.max_positions or 10**9) - MAX_NEW_TOKENS
    asked = ((record, encoder.prompt(record).tolist()) for record in parts.data.val_records)
    chosen = list(islice((pair for pair in asked if len(pair[1]) <= room), count))
    prompts = [prompt for _, prompt in chosen]
    records = [
        {"id": r.id, "instruction": transcript(r.messages) if r.messages else r.instruction, "input": r.input}
        for r, _ in chosen
    ]

    def answer(folder: Path) -> list[str]:
        model = _load(folder, parts, "bfloat16" if on_gpu else "float32").to("cuda" if on_gpu else "cpu")
        return greedy_answers(model, encoder, prompts, batch_size=8, max_tokens=MAX_NEW_TOKENS, progress=progress)

    if prompts:
        progress = Progress("answers", 2 * len(prompts))
        told = f"{len(prompts)} held-out instructions for {target.path / _SAMPLES} and W&B"
        log.info(f"samples  both models answer {told}; the run is finished, and logger.samples=0 leaves this out")
        write_samples(target, records, answer(parts.resolved.weights_folder), answer(target.model))
        progress.close()


def _load(folder: Path, parts: Components, dtype: str) -> Any:
    trust = parts.model.trust_remote_code
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, trust_remote_code=trust)
    grow(model, parts.model.rows)
    return model.eval()


def write_samples(target: RunFolder, records: Sequence[Any], before: Sequence[str], after: Sequence[str]) -> None:
    """One JSON object per line: id, task where the record has one, instruction, input, before, after."""
    kept = ("id", "task", "instruction", "input")
    rows = (
        {**{key: str(record.get(key) or "") for key in kept}, "before": was, "after": now}
        for record, was, now in zip(records, before, after, strict=True)
    )
    write_jsonl(target.path / _SAMPLES, rows)


def samples_table(parts: Components, target: RunFolder) -> list[dict[str, str]]:
    """``logger.samples`` rows of samples.jsonl, evenly spread, long texts cut; made now where there are none yet."""
    count, path = parts.loggers.samples if parts.module.answers else 0, target.path / _SAMPLES
    if count and not path.exists():
        generate_samples(parts, target, count)
    if not count or not path.exists():
        return []
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    count = min(count, len(rows))
    chosen = [rows[index * len(rows) // count] for index in range(count)]
    return [{key: text[:_SHOWN] for key, text in row.items()} for row in chosen]
