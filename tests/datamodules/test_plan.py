"""The plan: every group once an epoch, shares disjoint and equal, nothing but (seed, step) decides."""

import random

import pytest

from tuna.datamodules.plan import StepPlan
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
