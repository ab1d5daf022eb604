"""What is said before a run whose settings fit its data badly, each time with the keys to type instead."""

from math import ceil, sqrt

from tuna.training.run import Components

_FEW_STEPS = 10
_FEW_LISTS, _ENOUGH_LISTS = 25, 96  # held out: a share is known to +-0.20 and +-0.10
_RATE_OF_ALL_WEIGHTS = 5e-5  # a smaller one is not meant for adapters


def hints(parts: Components) -> list[str]:
    """One line per setting."""
    data, module, steps = parts.data, parts.module, parts.total_steps
    lists, found = len(data.train_groups), []
    if (warmup := module.warmup(steps)) < module.warmup_steps:
        found.append(f"warm-up takes {warmup} of the {steps} steps, not {module.warmup_steps} (module.warmup_steps)")
    if steps < _FEW_STEPS and parts.training.max_steps is None:
        world = parts.training.world_size
        batch = max(1, lists // 4 // world) * world
        if (more := 3 * ceil(lists / batch)) > steps:
            keys = f"datamodule.batch_size={batch} trainer.max_epochs=3"
            found.append(f"{lists} lists make only {steps} optimizer step{'s' * (steps > 1)}; {keys} makes {more}")
    if parts.model.lora and module.lr < _RATE_OF_ALL_WEIGHTS:
        found.append(
            f"module.lr={module.lr:g} is a rate for tuning all weights; adapters usually take ten times as much: "
            f"module.lr={10 * module.lr:g}"
        )
    if 0 < (held := len(data.val_groups)) < _FEW_LISTS:
        key = "" if data.val_path else f" (datamodule.held_out={_ENOUGH_LISTS})"
        spare = key if lists + held >= 2 * _ENOUGH_LISTS else ", more than these data can spare"
        found.append(
            f"{held} held-out list{'s' * (held > 1)} decide{'s' * (held == 1)} nothing: a share over so few, such as "
            f"pair accuracy, is known to +-{_half(held):.2f} at worst (95%); {_ENOUGH_LISTS} lists make that "
            f"+-{_half(_ENOUGH_LISTS):.2f}{spare}"
        )
    if not data.val_groups and data.held_out and data.val_path is None and lists > 1:
        found.append(
            f"datamodule.held_out={data.held_out:g} holds out none of {lists} lists, so nothing will be measured; "
            f"datamodule.held_out={max(1, lists // 5)} holds out that many"
        )
    return found


def _half(lists: int) -> float:
    """Half of the 95% interval of a share of one half, over that many lists that are wholly right or wrong."""
    return min(1.0, 1.96 * 0.5 / sqrt(lists))
