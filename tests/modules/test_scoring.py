"""tuna.modules.scoring: values, schedule, and the scaling that keeps the gradient free of accumulation and sharding."""

import pytest

from tuna.errors import ConfigError
from tuna.modules.ranking import SFT, Ranking
from tuna.modules.scoring import Plan, ScoringModule


def test_every_wrong_value_is_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        Ranking(lr=0.0, betas=(0.9, 1.0), warmup_steps=-1, min_lr_ratio=2.0)
    keys = [line.partition(":")[0] for line in str(caught.value).splitlines()]
    assert keys == ["lr", "betas", "warmup_steps", "min_lr_ratio"]


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_schedule_never_wastes_a_step(schedule: str) -> None:
    module = SFT(lr=1.0, schedule=schedule, warmup_steps=2)  # type: ignore[arg-type]
    module.plan = Plan(total_steps=10)
    factors = [module.lr_factor(step) for step in range(10)]
    assert factors[:2] == [0.5, 1.0] and all(0 < factor <= 1 for factor in factors)
    assert factors[2:] == sorted(factors[2:], reverse=True)


def test_a_run_shorter_than_its_warm_up() -> None:
    module = SFT(lr=1.0, warmup_steps=5)
    module.plan = Plan(total_steps=2)
    assert [module.lr_factor(step) for step in range(2)] == [1.0, 1.0]  # half of it at most


def test_min_lr_ratio_is_the_floor() -> None:
    module = ScoringModule(min_lr_ratio=0.1, schedule="linear", warmup_steps=0)
    module.plan = Plan(total_steps=4)
    assert module.lr_factor(4) == pytest.approx(0.1)
