"""What a run says of itself while it trains: a line and a logged row every few steps."""

import logging
import time
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from tuna.modules.scoring import ScoringModule
from tuna.training import distributed

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
    """Logs train/..., perf/... every ``every`` optimizer steps (ten times at least) and at the last, and prints it."""

    def __init__(self, *, every: int, start_step: int, total_steps: int) -> None:
        self.every = max(1, min(every, total_steps // 10))  # a short run shows ten points all the same
        self.start_step, self.total_steps = start_step, total_steps
        self.last: dict[str, float] = {}
        self.validated = -1  # the last step whose held-out figures were logged

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self.began = self.since = time.perf_counter()
        self.lr = 0.0

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Any) -> None:
        """Note the learning rate that this step uses; the scheduler has moved on when the batch ends."""
        self.lr = float(optimizer.param_groups[0]["lr"])

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Report where it is time."""
        step = trainer.global_step
        if (batch_idx + 1) % trainer.accumulate_grad_batches or (step % self.every and step != self.total_steps):
            return
        assert isinstance(pl_module, ScoringModule)
        tokens = pl_module.train_meter.reduce_tokens()
        means = pl_module.train_meter.reduce(pl_module.loss_weights())
        now = time.perf_counter()
        figures = {f"train/{name}": value for name, value in means.items()}
        figures |= {"train/lr": self.lr, "train/grad_norm": pl_module.grad_norm}
        figures["perf/tokens_per_second"] = tokens["real"] / (now - self.since)
        figures["perf/packing_waste"] = 1 - tokens["real"] / max(1, tokens["padded"])
        self.since, self.last = now, figures
        for logger in trainer.loggers:
            logger.log_metrics(figures, step=step)
        if distributed.rank() == 0:
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
            shown = "  ".join(f"{name.removeprefix('val/')} {value:.4f}" for name, value in figures.items())
            log.info(f"step {self.validated}/{self.total_steps}  held-out: {shown}")
