"""What a run says on the screen and in log.txt: first lines, a line every few steps, and the closing table."""

import logging
import math
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig, OmegaConf

from tuna.config.commands import Unsayable, command
from tuna.config.compose import is_tiny, on_embedded
from tuna.console import as_typed, clock_time
from tuna.runs import RunFolder
from tuna.secrets import mask_words
from tuna.tracking.loggers import Logger
from tuna.training import distributed
from tuna.training.notes import hints
from tuna.training.results import Outcome, named_baselines
from tuna.training.run import Components

log = logging.getLogger("tuna")
LARGE = 100_000_000  # bytes of checkpoints that are told of
QUIET = 10.0  # seconds, after which a line says how far a step or the held-out figures are


class _Masked(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return mask_words(super().format(record))


@contextmanager
def open_log(path: Path) -> Iterator[None]:
    """Within it, the run's messages go to the screen and, with their time, to log.txt; those of DEBUG to log.txt."""
    log.setLevel(logging.DEBUG)
    log.propagate = False
    screen, file = logging.StreamHandler(sys.stdout), logging.FileHandler(path, encoding="utf-8")
    screen.setLevel(logging.INFO)
    screen.setFormatter(_Masked("%(message)s"))
    file.setFormatter(_Masked("%(asctime)s %(message)s"))
    log.handlers = [screen, file]
    try:
        yield
    finally:
        log.handlers = []
        file.close()


def first_lines(parts: Components, target: RunFolder, start_step: int) -> list[str]:
    """Scale, starting model, data, learning rate, batch, where the run goes."""
    cfg, training, data = parts.cfg, parts.training, parts.data
    scale = "tiny (values for the embedded models)" if is_tiny(cfg) else "the paper's values"
    processes = f"{training.world_size} processes, " if training.world_size > 1 else ""
    return [
        f"stage   {cfg.stage.name}: {cfg.stage.summary}",
        f"scale   {scale}",
        f"model   {parts.resolved.source} ({parts.num_parameters / 1e6:.1f}M parameters)",
        f"        stage {cfg.stage.name} starts from {cfg.stage.start}",
        *[f"        {line}" for line in parts.model.frozen_lines],
        *[f"        {line}" for line in parts.module.start_lines(parts.resolved, cfg.seed)],
        *[f"{'' if n else 'data':8}{line}" for n, line in enumerate(data.report.lines())],
        f"train   lr {parts.module.lr:g}, {data.batch_size} groups per step{_cut(parts)}, {parts.total_steps} steps, "
        f"{processes}{training.precision} on {'gpu' if training.on_gpu else 'cpu'}, seed {cfg.seed}",
        *[f"        note: {note}" for note in [*training.notes, *hints(parts)]],
        *([f"memory  forecast: {parts.memory}"] if parts.memory else []),
        f"run     {target.path}" + (f"  (resumed at step {start_step})" if target.resumed else ""),
    ]


def _cut(parts: Components) -> str:
    """How a step is cut into forward passes, where it is."""
    if parts.data.accumulate == 1:
        return ""
    most = f" of up to {parts.training.micro_budget:,} tokens" if parts.training.accumulate is None else ""
    return f" in {parts.data.accumulate} passes{most}"


@dataclass(kw_only=True, eq=False)
class Progress(Callback):
    """Logs train/..., perf/... every ``every`` optimizer steps (ten times at least) and at the last, and prints it.

    perf/tokens_per_second counts the time inside steps: no validation, no checkpoint. It has to stand before
    Checkpoints among the callbacks. NaN and infinity are not logged.
    """

    every: int
    start_step: int
    total_steps: int
    loggers: Sequence[Logger] = ()
    baselines: Mapping[str, Any] = field(default_factory=dict)  # of a data report, shown next to pair accuracy
    skipped: Sequence[int] | None = None  # the steps left out so far, where that may happen
    last: dict[str, float] = field(default_factory=dict, init=False)
    validated: int = field(default=-1, init=False)  # the last step whose held-out figures were logged

    def on_train_start(self, trainer: pl.Trainer, pl_module: object) -> None:
        """Start the clocks."""
        self.began = time.perf_counter()
        self.busy = 0.0  # seconds inside steps since the last report
        self.told = self.began

    def on_train_batch_start(self, *_: object) -> None:
        """Start the clock of the step; what lies between two batches is not counted."""
        self.since = time.perf_counter()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Report where it is time; a short run shows ten points all the same."""
        step, every = trainer.global_step, max(1, min(self.every, self.total_steps // 10))
        if (batch_idx + 1) % trainer.accumulate_grad_batches or (step % every and step != self.total_steps):
            self.busy += time.perf_counter() - self.since
            micro = (batch_idx + 1) % trainer.accumulate_grad_batches
            done = f"step {step + bool(micro)}/{self.total_steps}"
            self._between(f"{done}: {micro} of {trainer.accumulate_grad_batches} passes done" if micro else done)
            return
        real, padded = pl_module.train_meter.reduce_tokens()
        means = pl_module.train_meter.reduce()
        now = time.perf_counter()  # reading the figures has waited for the device
        self.busy += now - self.since
        figures = {f"train/{name}": value for name, value in means.items()}
        lr = pl_module.lr * pl_module.lr_factor(step - 1)  # of this step; the scheduler has moved on
        figures |= {"train/lr": lr, "train/grad_norm": pl_module.grad_norm}
        figures["perf/tokens_per_second"] = real / max(self.busy, 1e-9)
        figures["perf/packing_waste"] = 1 - real / max(1, padded)
        if self.skipped is not None:
            figures["train/skipped_steps"] = float(len(self.skipped))
        figures = {name: value for name, value in figures.items() if math.isfinite(value)}
        self.busy, self.last = 0.0, self.last | figures
        for logger in self.loggers:
            logger.log_metrics(figures, step)
        if distributed.rank() == 0 and "train/loss" in figures:  # else all of these steps were left out, as was said
            left = (now - self.began) / (step - self.start_step) * (self.total_steps - step)
            shown = ("loss", "loss_rank", "loss_ce", "pair_accuracy")
            parts = [f"{name} {figures[f'train/{name}']:.4f}" for name in shown if f"train/{name}" in figures]
            parts += [f"lr {lr:.2e}", f"{figures['perf/tokens_per_second']:,.0f} tokens/s", f"left {clock_time(left)}"]
            log.info("  ".join([f"step {step}/{self.total_steps}", *parts]))
            self.told = now

    def _between(self, line: str) -> None:
        """Say it where nothing was said for a while."""
        if distributed.rank() == 0 and (now := time.perf_counter()) - self.told >= QUIET:
            log.info(line)
            self.told = now

    def on_validation_start(self, trainer: pl.Trainer, pl_module: object) -> None:
        """Start the clock of held-out figures."""
        self.looked = self.told = time.perf_counter()

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: object, outputs: object, batch: object, batch_idx: int, *_: object
    ) -> None:
        """Say how far it is."""
        done, total = batch_idx + 1, int(sum(trainer.num_val_batches))
        left = (time.perf_counter() - self.looked) / done * (total - done)
        self._between(f"held-out: {done}/{total} passes, left {clock_time(left)}")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Log the held-out figures of a validation in the middle of training, at the step it follows."""
        if trainer.state.fn != "fit":
            return
        self.validated = trainer.global_step
        figures = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        for logger in self.loggers:
            logger.log_metrics(figures, self.validated)
        if distributed.rank() == 0:
            shown = {name: f"{name.removeprefix('val/')} {value:.4f}" for name, value in figures.items()}
            if "val/pair_accuracy" in figures and self.baselines:
                interval = pl_module.intervals().get("pair_accuracy")
                against = [f"95% {interval.low:.2f}-{interval.high:.2f}"] if interval else []
                against += [f"{name} {mean:.3f}" for name, mean in named_baselines(self.baselines).items()]
                shown["val/pair_accuracy"] += f" ({', '.join(against)})" if against else ""
            log.info(f"step {self.validated}/{self.total_steps}  held-out: {'  '.join(shown.values())}")


def last_lines(parts: Components, target: RunFolder, outcome: Outcome, figure: Path | None) -> list[str]:
    """The before/after table, and where everything is."""
    lines = ["", f"{'':28}{'before':>10}{'after':>10}{'change':>10}"]
    for row in outcome.rows():
        lines.append(f"{row.title:28}{row.before:>10}{row.after:>10}{row.change:>10}")
        lines += [f"{f'  baseline: {name}':28}{value:>10.3f}{value:>10.3f}" for name, value in row.baselines.items()]
        if any(row.intervals):
            lines.append(f"{'  95% interval':28}" + "".join(f"{shown or '-':>10}" for shown in row.intervals))
    if len(lines) == 2:
        lines = ["", "nothing was held out, so nothing was measured; see datamodule.held_out and val_path"]
    if skipped := target.read().get("skipped_steps"):
        steps = ", ".join(map(str, skipped))
        lines += ["", f"skipped  {len(skipped)} of {parts.total_steps} steps ({steps}): loss or gradient not finite"]
    kept = sum(file.stat().st_size for file in target.checkpoints.rglob("*") if file.is_file())
    metrics = [target.path / "run.json", *target.path.glob("metrics.csv")]
    lines += ["", f"model    {target.model}", f"metrics  {', '.join(map(str, metrics))}"]
    if figure:
        lines.append(f"figure   {figure}")
    if kept >= LARGE and parts.training.keep_checkpoints:
        lines.append(
            f"disk     {kept / 1e9:.1f} GB of {target.checkpoints}, which nothing needs now that the run is finished; "
            "trainer.keep_checkpoints=0 removes them then"
        )
    answers = parts.module.answers
    if answers:
        lines.append(as_typed(f"chat     python -m tuna chat {shlex.quote(f'model.path={target.path}')}"))
    if following := next_command(parts.cfg, target.path, answers=answers):
        return [*lines, f"next     {following}"]
    return [*lines, f"to use   {'model' if answers else 'ranker'}.path={target.path}"]


def next_command(cfg: DictConfig, run: Path, *, answers: bool) -> str | None:
    """The command that takes the run's model, which ``answers`` or is a reward model; None where none fits its data."""
    words: dict[str, Any] = {}
    if not on_embedded(cfg):  # the embedded questions say nothing of it
        data, model = cfg.datamodule, OmegaConf.to_container(cfg.model)
        assert isinstance(model, dict)
        more = any(data.get(key) is not None for key in ("columns", "val_split", "subset"))
        if data.val_path is None or data.bad_rows != "error" or data.format != "auto" or more:
            return None  # the other programs have no keys for how such a file is read
        if not answers:
            words = {"score_only": True, "input": data.val_path}
        elif data.get("rank_by") is None:
            words = {"benchmark": "nll", "benchmark.path": data.val_path}
        else:
            words = {"benchmark": "agreement", "benchmark.path": data.val_path}
            words |= {"benchmark.rank_by": "eq3", "benchmark.beta": data.beta} if data.rank_by == "eq3" else {}
        if answers:
            usual = {"template": "auto", "template_args": None, "trust_remote_code": False}
            words |= {f"model.{key}": model[key] for key, value in usual.items() if model[key] != value}
    words |= {"model.path": str(run)} if answers else {"ranker": "proxy", "ranker.path": str(run)}
    try:
        return command("evaluate.py" if answers else "rank.py", words)
    except Unsayable:
        return None
