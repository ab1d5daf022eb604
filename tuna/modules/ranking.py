"""Tuning on ranked lists: the scorer under a ranking loss."""

import torch

from tuna.losses.base import ScoredLists
from tuna.losses.lists import as_lists, extremes, pair_accuracy, violations
from tuna.modules.meter import Meter
from tuna.modules.scoring import Schedule, ScoringModule


class Ranking(ScoringModule):
    """Tunes on ranked lists (stages tuna_p, tuna_c, tuna and their mixtures). Arguments: see ScoringModule."""

    def __init__(
        self,
        *,
        lr: float = 1e-5,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        schedule: Schedule = "cosine",
        warmup_steps: int = 2,
        min_lr_ratio: float = 0.0,
    ) -> None:
        super().__init__(
            lr=lr,
            weight_decay=weight_decay,
            betas=betas,
            eps=eps,
            schedule=schedule,
            warmup_steps=warmup_steps,
            min_lr_ratio=min_lr_ratio,
        )

    def measure(self, meter: Meter, lists: ScoredLists) -> None:
        """Beside the loss: pair_accuracy, mean v of best and worst, and the share of pairs that miss their margin."""
        super().measure(meter, lists)
        with torch.no_grad():
            ranked = as_lists(lists)
            accuracy = pair_accuracy(ranked)
            best, worst = extremes(ranked)
            meter.add("pair_accuracy", accuracy, ranked.weights)
            meter.add("v_best", best, ranked.weights)
            meter.add("v_worst", worst, ranked.weights)
            margin = float(getattr(self.loss, "margin", 0.0))
            meter.add("margin_violations", violations(ranked, margin), ranked.weights)
            meter.per_list.extend(accuracy[~torch.isnan(accuracy) & (ranked.weights > 0)].tolist())
