"""The plan: every group as often as its source weighs, shares disjoint and equal, only (seed, step) decides."""

import random
from collections import Counter

import numpy as np
import pytest

from tuna.data.batch import Group
from tuna.datamodules.plan import StepPlan, costs
from tuna.errors import ConfigError


@pytest.mark.parametrize("seed", range(12))
def test_shares_make_up_the_step_and_steps_the_epoch(seed: int) -> None:
    rng = random.Random(seed)
    lengths = [rng.randint(5, 500) for _ in range(rng.randint(1, 90))]
    accumulate, world = rng.randint(1, 4), rng.randint(1, 4)
    plan = StepPlan(lengths, accumulate * world * rng.randint(1, 5), accumulate, world, epochs=2, seed=seed)
    assert plan.total_steps == 2 * -(-len(lengths) // plan.batch_size)
    for epoch in range(2):
        seen: list[int] = []
        for step in range(epoch * plan.steps_per_epoch, (epoch + 1) * plan.steps_per_epoch):
            shares = [plan.share(step, m, r) for m in range(accumulate) for r in range(world)]
            assert len({len(s.groups) + s.fill for s in shares}) == 1
            dealt = [g for s in shares for g in s.groups]
            assert sorted(dealt) == sorted(plan.step_groups(step).tolist())
            seen += dealt
        assert sorted(seen) == list(range(len(lengths)))


def test_order_depends_on_seed_and_epoch_not_on_processes() -> None:
    lengths = list(range(1, 65))
    one = StepPlan(lengths, 16, epochs=2, seed=3)
    two = StepPlan(lengths, 16, accumulate=2, world_size=4, epochs=9, seed=3)
    steps = [sorted(one.step_groups(s).tolist()) for s in range(8)]
    assert steps == [sorted(two.step_groups(s).tolist()) for s in range(8)]
    assert steps[:4] != steps[4:]
    assert steps[0] != sorted(StepPlan(lengths, 16, seed=4).step_groups(0).tolist())


def test_ranks_carry_about_as_many_tokens() -> None:
    rng = random.Random(0)
    lengths = [rng.randint(50, 800) for _ in range(128)]
    plan = StepPlan(lengths, 128, accumulate=2, world_size=4)
    for micro in range(2):
        loads = [sum(lengths[g] for g in plan.share(0, micro, rank).groups) for rank in range(4)]
        assert max(loads) < 1.05 * min(loads)
    halves = [[lengths[g] for r in range(4) for g in plan.share(0, m, r).groups] for m in range(2)]
    assert min(halves[0]) >= max(halves[1]), "micro-steps hold groups of like length"


def test_a_batch_that_cannot_be_shared_out() -> None:
    with pytest.raises(ConfigError, match=r"datamodule.batch_size: .* trainer.accumulate .* trainer.devices .* 3 x 2"):
        StepPlan([1], 8, accumulate=3, world_size=2)


@pytest.mark.parametrize("seed", range(8))
def test_a_budget_of_tokens_bounds_every_micro_step(seed: int) -> None:
    rng = random.Random(seed)
    lengths = [rng.randint(5, 500) for _ in range(rng.randint(1, 90))]
    world, budget = rng.randint(1, 4), rng.choice([1, 300, 900, 10**6])
    whole = StepPlan(lengths, world * rng.randint(1, 12), world_size=world, epochs=2, seed=seed)
    plan = whole.within(budget)
    assert plan.total_steps == whole.total_steps
    needed = 0
    for step in range(plan.total_steps):
        micros = [[plan.share(step, m, r) for r in range(world)] for m in range(plan.accumulate)]
        dealt = [g for ranks in micros for share in ranks for g in share.groups]
        assert sorted(dealt) == sorted(whole.step_groups(step).tolist())
        for ranks in micros:
            assert len({len(share.groups) + share.fill for share in ranks}) == 1 <= len(ranks[0].groups) + ranks[0].fill
            for share in ranks:
                assert sum(lengths[g] for g in share.groups) <= budget or len(share.groups) == 1
        needed = max(needed, sum(any(share.groups for share in ranks) for ranks in micros))
    assert needed == plan.accumulate
    if budget == 10**6:
        assert plan.accumulate == 1


def test_padded_rows_cost_more_than_packed_ones() -> None:
    tokens = [np.arange(size, dtype=np.int32) for size in (7, 3, 5)]
    group = Group("a", tokens[0], (tokens[1], tokens[2]), (1.0, 0.0), (False, False))
    assert (costs([group], padded=False), costs([group], padded=True)) == ([7 + 3 + 5], [2 * (7 + 5)])


ORDER = [[0, 2, 4], [1, 3, 5], [0, 1, 4], [2, 3, 5]]  # of before there were weights
SOURCES = [0] * 6 + [1] * 8 + [2] * 3


def _mixed(weights: tuple[float, ...], epochs: int = 4, **more: int) -> StepPlan:
    return StepPlan(list(range(1, 18)), 4, epochs=epochs, seed=5, sources=SOURCES, weights=weights, **more)


def _epoch(plan: StepPlan, epoch: int) -> Counter[int]:
    steps = range(epoch * plan.steps_per_epoch, (epoch + 1) * plan.steps_per_epoch)
    return Counter(group for step in steps for group in plan.step_groups(step).tolist())


def test_weights_are_how_often_per_epoch_a_list_is_seen() -> None:
    plan = _mixed((2, 0.5, 1))
    assert plan.per_epoch == [12, 4, 3]
    assert (plan.steps_per_epoch, plan.total_steps) == (5, 20)  # 19 lists in steps of 4
    epochs = [_epoch(plan, n) for n in range(4)]
    for seen in epochs:
        assert all(seen[group] == 2 for group in range(6))
        assert all(seen[group] == 1 for group in range(14, 17))
        assert sum(seen[group] for group in range(6, 14)) == 4
    halves = [{group for group in range(6, 14) if seen[group]} for seen in epochs]
    assert halves[0] | halves[1] == halves[2] | halves[3] == set(range(6, 14))
    assert [len(half) for half in halves] == [4] * 4


def test_no_list_comes_again_before_all_others_came() -> None:
    plan = StepPlan([1] * 10, 7, epochs=10, seed=0, sources=[0] * 10, weights=(0.7,))
    seen = Counter[int]()
    for epoch in range(10):
        seen += _epoch(plan, epoch)
        assert max(seen.values()) - min(seen[group] for group in range(10)) <= 1
    assert set(seen.values()) == {7}


def test_weight_1_changes_no_order() -> None:
    lengths = list(range(1, 18))
    plain, mixed = StepPlan(lengths, 4, epochs=2, seed=5), _mixed((1, 1, 1), epochs=2)
    assert plain.total_steps == mixed.total_steps == 10
    for step in range(10):
        assert plain.step_groups(step).tolist() == mixed.step_groups(step).tolist()


def test_the_order_of_today_does_not_move() -> None:
    assert [sorted(StepPlan([1] * 6, 3, epochs=2, seed=1).step_groups(step).tolist()) for step in range(4)] == ORDER


def test_processes_share_a_mixed_step() -> None:
    alone, two = _mixed((2, 0.5, 1)), _mixed((2, 0.5, 1), world_size=2, accumulate=2)
    for step in range(alone.total_steps):
        shares = [two.share(step, micro, rank) for micro in range(2) for rank in range(2)]
        dealt = [group for share in shares for group in share.groups]
        assert sorted(dealt) == sorted(alone.step_groups(step).tolist())


def test_a_small_share_of_few_lists_is_one() -> None:
    assert _mixed((0.01, 1, 1)).per_epoch == [1, 8, 3]
    assert StepPlan([1, 1], 2, sources=[1, 1], weights=(3, 1)).per_epoch == [0, 2]  # the first source has no list
