"""What all modules share: a scorer, a loss, an optimizer and its schedule."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import lightning.pytorch as pl
import torch
from annotated_types import Ge, Gt, Le, Lt
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from tuna.config.types import checked
from tuna.data.batch import PackedBatch
from tuna.losses.base import Loss, ScoredLists, total
from tuna.models.loading import Sharding, load_scorer
from tuna.models.reward import refuse_reward_model
from tuna.models.source import ModelConfig, Resolved
from tuna.modules.meter import Meter, Watch
from tuna.modules.optimizers import AdamW, Optimizer, Rates
from tuna.stats import Interval, bootstrap_interval

Rate = Annotated[float, Gt(0), Le(1_000_000)]
Ratio = Annotated[float, Ge(0), Le(1)]
Beta = Annotated[float, Ge(0), Lt(1)]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run decides for the module: how far it goes, where it starts, and over how many processes."""

    total_steps: int
    start_step: int = 0
    world_size: int = 1
    accumulate: int = 1
    seed: int = 0


@checked
@dataclass(kw_only=True, eq=False, repr=False)
class ScoringModule(pl.LightningModule):
    """Tunes the model inside a response scorer by AdamW, or another optimizer, on a loss over scored lists.

    lr: peak learning rate. betas, eps, weight_decay: the optimizer's. warmup_steps: optimizer steps of linear warm-up,
    half of the run at most, then ``schedule`` down towards min_lr_ratio * lr. Raises: ConfigError where a value is out
    of its range.

    schedule: how the learning rate falls from there to the last step; constant: not at all. min_lr_ratio: the share of
    lr that it falls to.
    """

    lr: Rate = 1e-5
    weight_decay: Annotated[float, Ge(0)] = 0.0
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    eps: Annotated[float, Gt(0)] = 1e-8
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_steps: Annotated[int, Ge(0)] = 2
    min_lr_ratio: Ratio = 0.0

    answers: ClassVar[bool] = True  # whether what is tuned writes answers
    scored: ClassVar[type[ScoredLists]] = ScoredLists  # what forward gives

    def __post_init__(self) -> None:
        """Become Lightning's."""
        super().__init__()
        self.betas = (self.betas[0], self.betas[1])
        self.scorer: Any = None  # until configure_model
        self.plan = Plan(total_steps=1)
        self.optimizer: Optimizer = AdamW()
        self.train_meter, self.val_meter = Meter(), Meter()
        self.train_watch, self.val_watch = Watch(), Watch()
        self.faults: Any = None
        self.grad_norm = float("nan")

    def check_start(self, resolved: Resolved, loss: Loss) -> None:
        """Refuse (ModelError, ConfigError), before weights load, a start or a loss that the module cannot use."""
        refuse_reward_model(resolved)

    def start_lines(self, resolved: Resolved, seed: int) -> list[str]:
        """What the run prints about the starting model."""
        return []

    def load_scorer(self, model: ModelConfig, sharding: Sharding | None = None) -> nn.Module:
        """The scorer with the starting weights, or this process's share of them."""
        return load_scorer(model, sharding=sharding)

    def export_tokenizer(self, model: ModelConfig) -> PreTrainedTokenizerBase | None:
        """The tokenizer to export; None is the starting model's, as it is."""
        return None

    def connect(
        self,
        *,
        loss: Loss,
        build_scorer: Callable[[Any], nn.Module],
        plan: Plan,
        faults: object = None,
        optimizer: Optimizer | None = None,
    ) -> None:
        """Take what no config holds. ``build_scorer(mesh)`` loads and shards. faults:
        tuna.training.nonfinite.NonFinite decides on losses and gradients that are not finite; None lets them pass.
        """
        self.loss, self._build_scorer, self.plan, self.faults = loss, build_scorer, plan, faults
        self.optimizer = optimizer or self.optimizer

    def configure_model(self) -> None:
        """Load the scorer once; Lightning calls this for validation and again for training."""
        if self.scorer is None:
            self.scorer = self._build_scorer(getattr(self, "_device_mesh", None))

    def forward(self, batch: PackedBatch) -> ScoredLists:
        """Score the batch's responses: summed log-probabilities [R], with what the loss needs to know of them."""
        logprobs, owner = self.scorer(batch), batch.response_group
        known = batch.weights, batch.reference, batch.most_ranked
        return self.scored(logprobs, batch.lengths, batch.scores, batch.targets, owner, *known)

    def training_step(self, batch: PackedBatch, batch_idx: int) -> Tensor:
        """The share of this micro-batch in the step's loss.

        Sums are divided by the step's global counts. Lightning divides by the accumulation and FSDP averages over
        processes; both are undone here, so that the gradient does not depend on either.
        """
        lists = self(batch)
        terms = self.loss(lists)
        loss = total(terms, lists, batch.totals)
        if not self.train_watch.losses:
            self.train_meter.mark()  # the figures of a step whose loss is no number are forgotten
        self.train_watch.add(lists, loss)
        self.measure(self.train_meter, lists)
        self.train_meter.add_tokens(batch)
        return loss * self.plan.world_size * self.plan.accumulate

    def validation_step(self, batch: PackedBatch, batch_idx: int) -> None:
        """Adds the batch to the held-out figures."""
        lists = self(batch)
        self.val_watch.add(lists)
        self.measure(self.val_meter, lists)

    def on_validation_epoch_start(self) -> None:
        """Forget what an interrupted validation left behind."""
        self.val_meter.reset()
        self.val_watch.clear()

    def on_validation_epoch_end(self) -> None:
        """Keep the held-out figures as val/..., the same on every process; tuna.training.log writes them down."""
        means = self.val_meter.reduce()
        if self.faults and not math.isfinite(means["loss"]):
            self.faults.held_out(self, means["loss"], self.val_watch.groups())
        self.val_watch.clear()
        figures = {f"val/{name}": value for name, value in (means | self.figures(self.val_meter)).items()}
        self.log_dict(figures, logger=False)

    def measure(self, meter: Meter, lists: ScoredLists) -> None:
        """Add the parts of the loss; subclasses add their metrics."""
        with torch.no_grad():
            meter.add_terms(self.loss(lists), lists)

    def figures(self, meter: Meter) -> dict[str, float]:
        """Held-out figures that are no means over lists, from what the meter kept of them."""
        return {}

    def intervals(self) -> dict[str, Interval]:
        """95% bootstrap intervals of the last held-out figures, by name."""
        found = {name: self.interval(name, values) for name, values in self.val_meter.last_lists.items()}
        return {name: interval for name, interval in found.items() if interval.lists}

    def interval(self, name: str, values: list[Any]) -> Interval:
        """That of one figure, from what the meter kept of each list."""
        return bootstrap_interval(sorted(values))  # sorted: any number of processes, one interval

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer over everything trainable, warm-up and decay counted in optimizer steps of the whole run."""
        trained = [parameter for parameter in self.scorer.parameters() if parameter.requires_grad]
        scaled = getattr(
            self.trainer.precision_plugin, "scaler", None
        )  # 16-mixed: fused, it would unscale gradients late
        rates = Rates(self.lr, self.weight_decay, self.betas, self.eps, fused=not scaled)
        optimizer = self.optimizer.build(trained, rates)
        start = self.plan.start_step
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self.lr_factor(start + step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def warmup(self, total_steps: int) -> int:
        """W, the steps of warm-up in a run of ``total_steps``: ``warmup_steps``, and at most half of them."""
        return min(self.warmup_steps, total_steps // 2)

    def lr_factor(self, step: int) -> float:
        """The learning rate of optimizer step s (from 0) of T as a share of the peak.

        (s + 1) / W in the W steps of warm-up; then q + (1 - q) * f(x) with q = min_lr_ratio, x = (s - W) / (T - W), and
        f(x) = (1 + cos(pi x)) / 2 for cosine, 1 - x for linear, 1 for constant.

        >>> module = ScoringModule(lr=1.0, warmup_steps=2)
        >>> module.plan = Plan(total_steps=6)
        >>> [round(module.lr_factor(step), 3) for step in range(6)]
        [0.5, 1.0, 1.0, 0.854, 0.5, 0.146]
        """
        warmup = self.warmup(self.plan.total_steps)
        if step < warmup:
            return (step + 1) / warmup
        done = min(1.0, (step - warmup) / max(1, self.plan.total_steps - warmup))
        falls = {"cosine": (1 + math.cos(math.pi * done)) / 2, "linear": 1 - done, "constant": 1.0}
        return self.min_lr_ratio + (1 - self.min_lr_ratio) * falls[self.schedule]

    def on_train_batch_start(self, batch: PackedBatch, batch_idx: int) -> None:
        """Seed dropout by (seed, micro-step, rank), so that a resumed run draws what an uninterrupted one would."""
        micro = self.plan.start_step * self.plan.accumulate + batch_idx
        torch.manual_seed(hash((self.plan.seed, micro, self.global_rank)) & 0x7FFF_FFFF_FFFF_FFFF)

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip by the global norm, keep the norm before; a step that is not finite ends the run or is left out."""
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(parameters, gradient_clip_val or math.inf)
        full = getattr(norm, "full_tensor", None)  # a DTensor when sharded
        self.grad_norm, fault = self.train_watch.fault(full() if full is not None else norm)
        if self.faults and fault:
            self.faults.step(self, fault)
            if not math.isfinite(fault.loss):
                self.train_meter.rollback()
            for parameter in parameters:
                parameter.grad = None  # the optimizer passes over it
