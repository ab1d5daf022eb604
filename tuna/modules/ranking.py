"""Tuning a language model: on target responses (SFT), or on ranked lists."""

from dataclasses import dataclass

import torch

from tuna.config.types import checked
from tuna.losses.base import ScoredLists, as_lists, extremes, ndcg, pair_accuracy, violations
from tuna.losses.ranking import log_ratios
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
        """Besides the loss: pair_accuracy, mean v of best and worst, NDCG, share of pairs that miss their margin."""
        super().measure(meter, lists)
        with torch.no_grad():
            ranked = as_lists(lists)
            best, worst = extremes(ranked)
            meter.keep("pair_accuracy", pair_accuracy(ranked), ranked.weights)
            meter.add("v_best", best, ranked.weights)
            meter.add("v_worst", worst, ranked.weights)
            margin = float(getattr(self.loss, "margin", 0.0))
            meter.add("margin_violations", violations(ranked, margin), ranked.weights)
            meter.add("ndcg", ndcg(ranked), ranked.weights)
            if lists.reference is not None:
                self._relative(meter, lists)

    def _relative(self, meter: Meter, lists: ScoredLists) -> None:
        """Against the reference model, s = beta * log(p / p_ref): reward_accuracy is the share of pairs that s orders
        right, reward_margin the mean s of the best candidates less that of the worst, and kl the mean of
        log p_ref - log p over the candidates, which estimates KL(p_ref || p) where the reference drew them.
        """
        ratios = log_ratios(lists)
        rewards = as_lists(lists, float(getattr(self.loss, "beta", 1.0)) * ratios)
        best, worst = extremes(rewards)
        meter.add("reward_accuracy", pair_accuracy(rewards), rewards.weights)
        meter.add("reward_margin", best - worst, rewards.weights)
        ranked = as_lists(lists, -ratios)
        meter.add("kl", ranked.v.sum(1) / ranked.present.sum(1), ranked.weights)
