"""tuna.modules.meter: means over everything added, never means of means."""

import pytest
import torch

from tests.losses.make import random_lists, select
from tuna.losses.base import local_totals, total
from tuna.losses.tuna import Tuna
from tuna.modules.meter import Meter


def test_mean_over_micro_batches_of_unequal_size() -> None:
    meter = Meter()
    meter.add("pair_accuracy", torch.tensor([1.0, 1.0, 1.0]), torch.ones(3))
    meter.add("pair_accuracy", torch.tensor([0.0]), torch.ones(1))
    assert meter.reduce()["pair_accuracy"] == pytest.approx(0.75)  # the mean of the two means would be 0.5


def test_nan_and_weightless_lists_are_left_out() -> None:
    meter = Meter()
    meter.add("x", torch.tensor([1.0, float("nan"), 5.0]), torch.tensor([1.0, 1.0, 0.0]))
    assert meter.reduce()["x"] == 1.0


def test_the_logged_loss_is_the_loss_of_all_groups_at_once() -> None:
    lists, loss, meter = random_lists(2, groups=6), Tuna(lambda_=3.0), Meter()
    for group in range(6):
        part = select(lists, torch.nonzero(lists.groups == group).flatten())
        weights = torch.zeros(6)
        weights[group] = 1.0
        moved = type(part)(part.logprobs, part.lengths, part.scores, part.targets, part.groups, weights)
        meter.add_terms(loss(moved), moved)
    figures = meter.reduce()
    expected = total(loss(lists), lists, local_totals(lists)).item()
    assert figures["loss"] == pytest.approx(expected, rel=1e-9)
    assert figures["loss"] == pytest.approx(figures["loss_rank"] + 3 * figures["loss_ce"], rel=1e-9)


def test_reduce_starts_anew() -> None:
    meter = Meter()
    meter.add("x", torch.tensor([1.0]), torch.ones(1))
    meter.reduce()
    assert meter.reduce() == {}
