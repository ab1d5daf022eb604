"""tuna.modules.prm: what is measured of rewards, by hand, and what a reward model does not take."""

import math
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig

from tuna.errors import ConfigError, ModelError
from tuna.losses.base import Loss, RewardLists
from tuna.losses.lmops import LMOps
from tuna.losses.mle import MLE
from tuna.losses.pairwise import Pairwise
from tuna.losses.plackett_luce import PlackettLuce
from tuna.losses.tuna import Tuna
from tuna.models.source import Resolved
from tuna.modules.prm import PRM
from tuna.stats import balanced_interval


def lists(rewards: list[float]) -> RewardLists:
    """Two lists, scores (2, 1, 0) and (1, 1, 0) with lengths (3, 1, 2) and (4, 4, 9), and a third that only fills."""
    return RewardLists(
        logprobs=torch.tensor([*rewards, 9.0, 0.0]),
        lengths=torch.tensor([3, 1, 2, 4, 4, 9, 1, 2]),
        scores=torch.tensor([2.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0]),
        targets=torch.zeros(8, dtype=torch.bool),
        groups=torch.tensor([0, 0, 0, 1, 1, 1, 2, 2]),
        weights=torch.tensor([1.0, 1.0, 0.0]),
    )


def measured(rewards: list[float]) -> tuple[PRM, dict[str, float]]:
    module = PRM()
    module.loss = Pairwise()
    module.measure(module.val_meter, lists(rewards))
    means = module.val_meter.reduce()
    return module, means | module.figures(module.val_meter)


def test_figures_by_hand() -> None:
    module, figures = measured([0.5, 1.0, 0.0, 3.0, 1.0, 2.0])
    assert figures["pair_accuracy"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    # tau-b: (2 - 1) / 3, and (1 - 1) / sqrt(3 * 2)
    assert figures["kendall_tau"] == pytest.approx((1 / 3 + 0) / 2)
    assert figures["best_of_n"] == pytest.approx((0 + 1) / 2)
    # Better longer: 0>1 wrong, 0>2 right; better shorter: 1>2 right, 3>5 right, 4>5 wrong.
    assert figures["pair_accuracy_balanced"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert figures["pair_accuracy_balanced_length_only"] == figures["pair_accuracy_balanced_chance"] == 0.5
    # Lengths alone: list 0 orders 0>1 and 0>2 right and 1>2 wrong; list 1 takes the longest, which is the worst.
    assert figures["kendall_tau_length_only"] == pytest.approx((1 / 3 - 2 / math.sqrt(2 * 2)) / 2)
    assert figures["best_of_n_length_only"] == 0.5 and figures["kendall_tau_chance"] == 0.0
    assert figures["best_of_n_chance"] == pytest.approx((1 / 3 + 2 / 3) / 2)
    assert set(module.intervals()) == {"pair_accuracy", "kendall_tau", "best_of_n", "pair_accuracy_balanced"}
    interval = module.intervals()["pair_accuracy"]
    assert interval.low == pytest.approx(0.5) and interval.high == pytest.approx(2 / 3)


def test_length_as_reward_gets_one_half_where_lengths_are_balanced() -> None:
    lengths = [3.0, 1.0, 2.0, 4.0, 4.0, 9.0]
    assert measured(lengths)[1]["pair_accuracy_balanced"] == 0.5
    assert measured([-value for value in lengths])[1]["pair_accuracy_balanced"] == 0.5


def test_balanced_interval() -> None:
    interval = balanced_interval([[1, 1, 0, 0], [0, 0, 1, 2], [0, 1, 2, 2], [0, 0, 0, 0]] * 10)
    assert interval.mean == pytest.approx((10 / 20 + 30 / 40) / 2) and interval.lists == 30
    assert interval.low < interval.mean < interval.high
    assert balanced_interval([[1, 1, 0, 0]]).lists == 0  # nothing where the better is shorter
    rows = [[1.0, 1.0, 0.0, 1.0], [0.0, 2.0, 3.0, 4.0]]
    assert balanced_interval(rows) == balanced_interval(rows[::-1])


def start(architecture: str, labels: int = 1) -> Resolved:
    config = LlamaConfig(architectures=[architecture])
    config.num_labels = labels
    return Resolved("m", Path("m"), config)


@pytest.mark.parametrize("loss", [MLE(), Tuna(), LMOps()])
def test_losses_with_cross_entropy_are_refused(loss: Loss) -> None:
    with pytest.raises(ConfigError, match=rf"loss=pairwise, loss=plackett_luce\), got {type(loss).__name__}.* ce "):
        PRM().check_start(start("LlamaForCausalLM"), loss)


def test_where_the_head_comes_from_is_said() -> None:
    module = PRM()
    for loss in (Pairwise(), PlackettLuce()):
        module.check_start(start("LlamaForCausalLM"), loss)
    assert module.start_lines(start("LlamaForSequenceClassification"), 0) == ["reward head: the starting model's own"]
    assert "fresh (seed 7)" in module.start_lines(start("LlamaForCausalLM"), 7)[0]
    with pytest.raises(ModelError, match="with 2 labels"):
        module.check_start(start("LlamaForSequenceClassification", 2), Pairwise())
