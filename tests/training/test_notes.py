from types import SimpleNamespace
from typing import Any

import pytest

from tuna.modules.scoring import Plan, ScoringModule
from tuna.training.notes import hints


def parts(**changes: Any) -> Any:
    """A run of 8 lists in one step; ``changes`` replace single settings."""
    given: dict[str, Any] = {
        "lists": 8,
        "held": 25,
        "held_out": 0.02,
        "steps": 1,
        "lora": None,
        "lr": 1e-3,
        "max_steps": None,
    }
    given |= {"val_path": None} | changes
    return SimpleNamespace(
        data=SimpleNamespace(
            train_groups=[0] * given["lists"],
            val_groups=[0] * given["held"],
            held_out=given["held_out"],
            val_path=given["val_path"],
        ),
        module=ScoringModule(lr=given["lr"]),
        total_steps=given["steps"],
        training=SimpleNamespace(max_steps=given["max_steps"], world_size=1),
        model=SimpleNamespace(lora=given["lora"]),
    )


def test_few_steps_are_said_with_the_keys_that_make_more() -> None:
    assert hints(parts()) == [
        "warm-up takes 0 of the 1 steps, not 2 (module.warmup_steps)",
        "8 lists make only 1 optimizer step; datamodule.batch_size=2 trainer.max_epochs=3 makes 12",
    ]
    assert hints(parts(steps=12)) == []
    assert hints(parts(steps=4, max_steps=4)) == []  # asked for


def test_a_rate_for_all_weights_and_an_empty_held_out_part_are_said() -> None:
    (line,) = hints(parts(steps=12, lora=8, lr=1e-5))
    assert line.endswith("adapters usually take ten times as much: module.lr=0.0001")
    (line,) = hints(parts(steps=12, held=0))
    assert line == (
        "datamodule.held_out=0.02 holds out none of 8 lists, so nothing will be measured; "
        "datamodule.held_out=1 holds out that many"
    )
    assert hints(parts(steps=12, held=0, held_out=0)) == []


def test_few_held_out_lists_are_said_with_how_many_decide() -> None:
    told = "2 held-out lists decide nothing: a share over so few, such as pair accuracy, is known to +-0.69 at worst "
    told += "(95%); 96 lists make that +-0.10"  # 1.96 sqrt(0.25 / n)
    assert hints(parts(steps=12, held=2)) == [f"{told}, more than these data can spare"]
    assert hints(parts(steps=12, held=2, lists=190)) == [f"{told} (datamodule.held_out=96)"]
    assert hints(parts(steps=12, held=2, lists=190, val_path="FILE")) == [told]
    assert hints(parts(steps=12, held=1))[0].startswith("1 held-out list decides nothing")


@pytest.mark.parametrize(("steps", "factors"), [(1, [1.0]), (2, [1.0, 1.0]), (4, [0.5, 1.0, 1.0, 0.5])])
def test_warm_up_takes_half_of_a_short_run_at_most(steps: int, factors: list[float]) -> None:
    module = ScoringModule(lr=1.0)
    module.plan = Plan(total_steps=steps)
    assert [module.lr_factor(step) for step in range(steps)] == pytest.approx(factors)
