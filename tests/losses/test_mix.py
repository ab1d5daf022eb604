"""tuna.losses.mix: weighted parts of several losses."""

import pytest

from tests.losses.test_every_loss import lists_of, loss_named
from tuna.errors import ConfigError
from tuna.losses.base import total
from tuna.losses.mix import Mix

DPO = {"_target_": "tuna.losses.dpo.DPO"}
MLE = {"_target_": "tuna.losses.mle.MLE"}


def test_it_is_the_weighted_sum() -> None:
    lists = lists_of(1)
    mixed = Mix(losses={"a": DPO, "b": MLE}, weights={"b": 0.25})
    wanted = total(loss_named("dpo")(lists), lists) + 0.25 * total(loss_named("mle")(lists), lists)
    assert total(mixed(lists), lists).item() == pytest.approx(wanted.item())
    assert set(mixed(lists)) == {"a_rank", "a_ce", "b_ce"}
    assert mixed.needs_reference and mixed.reference is None and not mixed.needs_grades


def test_without_one_that_needs_it_there_is_no_reference() -> None:
    mixed = Mix(losses={"a": MLE, "b": {"_target_": "tuna.losses.lipo.LiPO", "labels": "ranks"}})
    assert mixed.needs_grades and mixed.labels == "ranks"
    assert not Mix(losses={"a": MLE}).needs_reference


def test_the_strictest_labels_of_its_losses_are_its_own() -> None:
    lipo = "tuna.losses.lipo.LiPO"
    mixed = {kind: {"_target_": lipo, "labels": kind} for kind in ("ranks", "auto", "scores")}
    assert Mix(losses=mixed).labels == "scores"
    assert Mix(losses={kind: mixed[kind] for kind in ("ranks", "auto")}).labels == "auto"


def test_bad_input() -> None:
    with pytest.raises(ConfigError, match="weights: expected names of losses \\(a\\), got c"):
        Mix(losses={"a": MLE}, weights={"c": 1.0})
    with pytest.raises(ConfigError, match="one reference"):
        Mix(losses={"a": DPO, "b": {**DPO, "reference": "tiny"}})
