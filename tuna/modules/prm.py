"""The proxy ranking model: a reward scorer under a loss of the order (the paper's PRM)."""

from typing import Any

import torch
from torch import Tensor, nn

from tuna.errors import ConfigError
from tuna.losses.base import Loss, RewardLists, ScoredLists
from tuna.losses.lists import Lists, as_lists, best_of_n, better_pairs, kendall_tau, pair_accuracy, right_by_length
from tuna.modules.meter import Meter
from tuna.modules.scoring import Schedule, ScoringModule
from tuna.stats import Interval, balanced_interval

BALANCED = "pair_accuracy_balanced"


class PRM(ScoringModule):
    """Trains a reward head, and the model under it, on ranked lists (stage prm). Arguments: see ScoringModule.

    The rate falls to a tenth of its peak, not to zero, as InstructGPT's reward models do (arXiv 2203.02155, C.2).
    """

    answers = False
    scored = RewardLists  # rewards in place of log-probabilities

    def __init__(
        self,
        *,
        lr: float = 1e-5,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        schedule: Schedule = "cosine",
        warmup_steps: int = 2,
        min_lr_ratio: float = 0.1,
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

    def check_start(self, resolved: Any, loss: Loss) -> None:
        """Refuse a model that takes no reward head, and a loss that is not of the order alone.

        Raises:
            ModelError, ConfigError: what was expected.
        """
        from tuna.models.reward_source import check_reward_source

        check_reward_source(resolved)
        zero, two = torch.zeros(2), torch.ones(2, dtype=torch.long)
        pair = RewardLists(zero, two, torch.tensor([1.0, 0.0]), two > 1, two - two, torch.ones(1))
        others = sorted(set(loss(pair)) - {"rank"})
        if others:
            raise ConfigError(
                "loss: expected one of the order alone (loss=pairwise, loss=plackett_luce), "
                f"got {type(loss).__name__}, whose part {', '.join(others)} is of a language model's log-probabilities"
            )

    def check_weights(self, model: Any, resolved: Any) -> None:
        """Refuse weights that are not those of the config, but for a head that is missing."""
        from tuna.models.reward_loading import check_reward_weights

        check_reward_weights(model, resolved)

    def start_lines(self, resolved: Any, seed: int) -> list[str]:
        """Where the reward head comes from."""
        from tuna.models.reward_source import has_reward_head

        if has_reward_head(resolved.config):
            return ["reward head: the starting model's own"]
        return [f"reward head: fresh (seed {seed}) on the backbone of a causal language model"]

    def load_scorer(self, model: Any, resolved: Any) -> nn.Module:
        """The reward scorer with the starting weights."""
        from tuna.models.reward_loading import load_reward_scorer

        return load_reward_scorer(model, resolved, seed=self.plan.seed)

    def export_tokenizer(self, model: Any) -> Any:
        """The tokenizer with a padding token where the starting folder's has none of its own, else None."""
        from tuna.models.reward_source import set_pad

        tokenizer = model.tokenizer()
        return tokenizer if set_pad(tokenizer) else None

    def measure(self, meter: Meter, lists: ScoredLists) -> None:
        """Beside the loss: pair accuracy, on pairs balanced in length too, Kendall's tau-b, best of N; baselines."""
        super().measure(meter, lists)
        with torch.no_grad():
            ranked, lengths = as_lists(lists), as_lists(lists, lists.lengths.to(lists.logprobs.dtype))
            for name, figure in _FIGURES.items():
                meter.keep(name, figure(ranked), ranked.weights)
            for name in ("kendall_tau", "best_of_n"):
                meter.add(f"{name}_length_only", _FIGURES[name](lengths), ranked.weights)
            meter.add(
                "kendall_tau_chance", _nan_without_pairs(torch.zeros_like(ranked.weights), ranked), ranked.weights
            )
            best = ranked.present & (ranked.scores == ranked.scores.amax(1, keepdim=True))
            share = best.sum(1) / ranked.present.sum(1)
            meter.add("best_of_n_chance", _nan_without_pairs(share, ranked), ranked.weights)
            meter.keep_rows(BALANCED, right_by_length(ranked, lengths), ranked.weights)

    def figures(self, meter: Meter) -> dict[str, float]:
        """``pair_accuracy_balanced`` from the pairs of all lists, and what length alone makes of it: one half."""
        interval = self._balanced(meter)
        if interval.lists == 0:
            return {}
        return {BALANCED: interval.mean, f"{BALANCED}_length_only": 0.5, f"{BALANCED}_chance": 0.5}

    def intervals(self) -> dict[str, Interval]:
        """95% bootstrap intervals of the last held-out figures."""
        found = super().intervals()
        balanced = self._balanced(self.val_meter)
        return found | ({BALANCED: balanced} if balanced.lists else {})

    def _balanced(self, meter: Meter) -> Interval:
        return balanced_interval(meter.last_rows.get(BALANCED, []))


_FIGURES = {"pair_accuracy": pair_accuracy, "kendall_tau": kendall_tau, "best_of_n": best_of_n}


def _nan_without_pairs(values: Tensor, ranked: Lists) -> Tensor:
    return values.masked_fill(~better_pairs(ranked).any(2).any(1), torch.nan)
