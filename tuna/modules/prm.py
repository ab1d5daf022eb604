"""The proxy ranking model: a reward scorer under a loss of the order (the paper's PRM)."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from tuna.config.types import checked
from tuna.errors import ConfigError
from tuna.losses import base
from tuna.losses.base import Loss, RewardLists, ScoredLists
from tuna.models.loading import Sharding, load_reward_scorer
from tuna.models.reward import check_reward_source, has_reward_head, set_pad
from tuna.models.source import ModelConfig, Resolved
from tuna.modules.meter import Meter
from tuna.modules.scoring import Ratio, ScoringModule
from tuna.stats import Interval, balanced_interval

BALANCED = "pair_accuracy_balanced"


@checked
@dataclass(kw_only=True, eq=False, repr=False)
class PRM(ScoringModule):
    """Trains a reward head, and the model under it, on ranked lists (stage prm). Arguments: see ScoringModule.

    The rate falls to a tenth of its peak, not to zero, as InstructGPT's reward models do (arXiv 2203.02155, C.2).
    """

    min_lr_ratio: Ratio = 0.1

    answers: ClassVar[bool] = False
    scored: ClassVar[type[ScoredLists]] = RewardLists  # rewards in place of log-probabilities

    def check_start(self, resolved: Resolved, loss: Loss) -> None:
        """Refuse a model that takes no reward head (ModelError) or a loss not of the order alone (ConfigError)."""
        check_reward_source(resolved)
        if getattr(loss, "needs_reference", False):
            raise ConfigError(
                f"loss: {type(loss).__name__} is relative to a language model's log-probabilities, which a reward "
                "model has none of; next: loss=pairwise or loss=plackett_luce"
            )
        zero, two = torch.zeros(2), torch.ones(2, dtype=torch.long)
        pair = RewardLists(zero, two, torch.tensor([1.0, 0.0]), two > 1, two - two, torch.ones(1))
        others = sorted(set(loss(pair)) - {"rank"})
        if others:
            raise ConfigError(
                "loss: expected one of the order alone (loss=pairwise, loss=plackett_luce), "
                f"got {type(loss).__name__}, whose part {', '.join(others)} is of a language model's log-probabilities"
            )

    def start_lines(self, resolved: Resolved, seed: int) -> list[str]:
        """Where the reward head comes from."""
        if has_reward_head(resolved.config):
            return ["reward head: the starting model's own"]
        return [f"reward head: fresh (seed {seed}) on the backbone of a causal language model"]

    def load_scorer(self, model: ModelConfig, sharding: Sharding | None = None) -> nn.Module:
        """The reward scorer with the starting weights, or this process's share of them."""
        return load_reward_scorer(model, seed=self.plan.seed, sharding=sharding)

    def export_tokenizer(self, model: ModelConfig) -> PreTrainedTokenizerBase | None:
        """The tokenizer with a padding token where the starting folder's has none of its own, else None."""
        tokenizer = model.tokenizer()
        return tokenizer if set_pad(tokenizer) else None

    def measure(self, meter: Meter, lists: ScoredLists) -> None:
        """Beside the loss: pair accuracy, on pairs balanced in length too, Kendall's tau-b, best of N; baselines."""
        super().measure(meter, lists)
        with torch.no_grad():
            ranked, lengths = base.as_lists(lists), base.as_lists(lists, lists.lengths.to(lists.logprobs.dtype))
            equal = replace(ranked, v=torch.zeros_like(ranked.v))  # chance: any candidate may be taken
            meter.keep("pair_accuracy", base.pair_accuracy(ranked), ranked.weights)
            meter.keep("kendall_tau", base.kendall_tau(ranked), ranked.weights)
            meter.keep("best_of_n", base.best_of_n(ranked), ranked.weights)
            meter.keep(BALANCED, base.right_by_length(ranked, lengths), ranked.weights)
            meter.add("kendall_tau_length_only", base.kendall_tau(lengths), ranked.weights)
            meter.add("best_of_n_length_only", base.best_of_n(lengths), ranked.weights)
            meter.add("kendall_tau_chance", base.pair_accuracy(equal) * 0, ranked.weights)
            meter.add("best_of_n_chance", base.best_of_n(equal), ranked.weights)

    def figures(self, meter: Meter) -> dict[str, float]:
        """``pair_accuracy_balanced`` from the pairs of all lists, and what length alone makes of it: one half."""
        interval = balanced_interval(meter.last_lists.get(BALANCED, []))
        halves = {f"{BALANCED}_length_only": 0.5, f"{BALANCED}_chance": 0.5}
        return {BALANCED: interval.mean} | halves if interval.lists else {}

    def interval(self, name: str, values: list[Any]) -> Interval:
        """95% bootstrap interval of one held-out figure."""
        return balanced_interval(values) if name == BALANCED else super().interval(name, values)
