"""What a run says of itself while it trains: a line and a logged row every few steps."""

import logging
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from tuna.modules.scoring import ScoringModule
from tuna.training import distributed
from tuna.training.outcome import BASELINES

log = logging.getLogger("tuna")


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss or m:ss.

    >>> clock(75), clock(3675.4)
    ('1:15', '1:01:15')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Progress(Callback):
    """Logs train/..., perf/... every ``every`` optimizer steps (ten times at least) and at the last, and prints it.

    perf/tokens_per_second counts the time inside steps: no validation, no checkpoint. It has to stand before
    Checkpoints among the callbacks.

    baselines: by name, each with its ``mean``: pair_accuracy of "length" and "random", shown beside the held-out one.
    skipped: the steps left out so far, where such may be; their number is logged. What is no number is not logged.
    """

    def __init__(
        self,
        *,
        every: int,
        start_step: int,
        total_steps: int,
        baselines: Mapping[str, Any] | None = None,
        skipped: Sequence[int] | None = None,
    ) -> None:
        self.skipped = skipped
        self.every = max(1, min(every, total_steps // 10))  # a short run shows ten points all the same
        self.start_step, self.total_steps, self.baselines = start_step, total_steps, dict(baselines or {})
        self.last: dict[str, float] = {}
        self.validated = -1  # the last step whose held-out figures were logged

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clocks."""
        self.began = self.since = time.perf_counter()
        self.busy = 0.0  # seconds inside steps since the last report
        self.lr = 0.0

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Start the clock of the step; what lies between two batches is not counted."""
        self.since = time.perf_counter()

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Any) -> None:
        """Note the learning rate that this step uses; the scheduler has moved on when the batch ends."""
        self.lr = float(optimizer.param_groups[0]["lr"])

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Report where it is time."""
        step = trainer.global_step
        if (batch_idx + 1) % trainer.accumulate_grad_batches or (step % self.every and step != self.total_steps):
            self.busy += time.perf_counter() - self.since
            return
        assert isinstance(pl_module, ScoringModule)
        tokens = pl_module.train_meter.reduce_tokens()
        means = pl_module.train_meter.reduce(pl_module.loss_weights())
        now = time.perf_counter()  # reading the figures has waited for the device
        self.busy += now - self.since
        figures = {f"train/{name}": value for name, value in means.items()}
        figures |= {"train/lr": self.lr, "train/grad_norm": pl_module.grad_norm}
        figures["perf/tokens_per_second"] = tokens["real"] / max(self.busy, 1e-9)
        figures["perf/packing_waste"] = 1 - tokens["real"] / max(1, tokens["padded"])
        if self.skipped is not None:
            figures["train/skipped_steps"] = float(len(self.skipped))
        figures = {name: value for name, value in figures.items() if math.isfinite(value)}
        self.busy, self.last = 0.0, self.last | figures
        for logger in trainer.loggers:
            logger.log_metrics(figures, step=step)
        if distributed.rank() == 0 and "train/loss" in figures:  # else all of these steps were left out, as was said
            log.info(self._line(step, figures, now))

    def _line(self, step: int, figures: dict[str, float], now: float) -> str:
        left = (now - self.began) / (step - self.start_step) * (self.total_steps - step)
        parts = [f"step {step}/{self.total_steps}", f"loss {figures['train/loss']:.4f}"]
        parts += [
            f"{name} {figures[f'train/{name}']:.4f}"
            for name in ("loss_rank", "loss_ce", "pair_accuracy")
            if f"train/{name}" in figures
        ]
        parts += [f"lr {figures['train/lr']:.2e}", f"{figures['perf/tokens_per_second']:,.0f} tokens/s"]
        return "  ".join([*parts, f"left {clock(left)}"])

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the held-out figures of a validation in the middle of training, at the step it follows."""
        if trainer.state.fn != "fit":
            return
        self.validated = trainer.global_step
        figures = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        for logger in trainer.loggers:
            logger.log_metrics(figures, step=self.validated)
        if distributed.rank() == 0:
            shown = []
            for name, value in figures.items():
                beside = self._beside(pl_module) if name == "val/pair_accuracy" else ""
                shown.append(f"{name.removeprefix('val/')} {value:.4f}{beside}")
            log.info(f"step {self.validated}/{self.total_steps}  held-out: {'  '.join(shown)}")

    def _beside(self, pl_module: pl.LightningModule) -> str:
        """What pair accuracy is to be read against: its 95% interval, and what anyone gets without a model."""
        parts = []
        interval = pl_module.intervals().get("pair_accuracy") if isinstance(pl_module, ScoringModule) else None
        if interval and self.baselines:
            parts.append(f"95% {interval.low:.2f}-{interval.high:.2f}")
        for name, value in self.baselines.items():
            if math.isfinite(value["mean"]):
                parts.append(f"{BASELINES.get(name, name)} {value['mean']:.3f}")
        return f" ({', '.join(parts)})" if parts else ""
