"""Tuning a language model: on target responses (SFT), or on ranked lists."""

from dataclasses import dataclass

import torch

from tuna.config.types import checked
from tuna.losses.base import ScoredLists, as_lists, extremes, pair_accuracy, violations
from tuna.modules.meter import Meter
from tuna.modules.scoring import Rate, ScoringModule


@checked
@dataclass(kw_only=True, eq=False, repr=False)
class SFT(ScoringModule):
    """Supervised fine-tuning on the target responses (stages sft and alpaca_mul). Arguments: see ScoringModule."""

    lr: Rate = 2e-5


class Ranking(ScoringModule):
    """Tunes on ranked lists (stages tuna_p, tuna_c, tuna and their mixtures). Arguments: see ScoringModule."""

    def measure(self, meter: Meter, lists: ScoredLists) -> None:
        """Beside the loss: pair_accuracy, mean v of best and worst, and the share of pairs that miss their margin."""
        super().measure(meter, lists)
        with torch.no_grad():
            ranked = as_lists(lists)
            best, worst = extremes(ranked)
            meter.keep("pair_accuracy", pair_accuracy(ranked), ranked.weights)
            meter.add("v_best", best, ranked.weights)
            meter.add("v_worst", worst, ranked.weights)
            margin = float(getattr(self.loss, "margin", 0.0))
            meter.add("margin_violations", violations(ranked, margin), ranked.weights)
