"""tuna.training.trainer: values checked at once, and what Lightning is given."""

from typing import Any

import pytest

from tuna.errors import ConfigError
from tuna.training.trainer import TrainerConfig


def test_every_wrong_value_is_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        TrainerConfig(max_epochs=0, accumulate=-1, clip_norm=0.0, early_stop_patience=3, devices=2)
    message = str(caught.value)
    for key in ("max_epochs", "accumulate", "clip_norm", "early_stop_patience", "devices"):
        assert f"trainer.{key}" in message


def test_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="expected a CUDA device for gpu, found none; use trainer=cpu"):
        assert TrainerConfig(accelerator="gpu").on_gpu


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"num_nodes": 2}, "num_nodes"),
        ({"activation_checkpointing": True}, "activation_checkpointing"),
        ({"strategy": "fsdp", "precision": "16-mixed"}, "precision"),
        ({"precision": "16-mixed", "accelerator": "cpu"}, "precision"),
        ({"timeout_minutes": -1.0}, "timeout_minutes"),
    ],
)
def test_what_cannot_be_combined_is_refused(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=rf"trainer\.{key}"):
        TrainerConfig(**changes)


def test_world_size() -> None:
    assert TrainerConfig(strategy="fsdp", devices=4, num_nodes=2, accelerator="cpu").world_size == 8
    assert TrainerConfig().world_size == 1


def test_processes_are_sharded_over_all_devices() -> None:
    trainer = TrainerConfig(strategy="fsdp", devices=2, accelerator="cpu").lightning(
        folder=".", steps=3, loggers=[], callbacks=[]
    )
    assert (trainer.strategy._data_parallel_size, trainer.strategy._tensor_parallel_size) == (2, 1)
