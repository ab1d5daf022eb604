"""tuna.training.trainer: values checked at once, and what Lightning is given."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tuna.errors import ConfigError
from tuna.runs import RunFolder
from tuna.training.trainer import TrainerConfig


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_epochs": 0, "accumulate": -1, "clip_norm": 0.0, "timeout_minutes": -1.0},
        {"early_stop_patience": 3, "devices": 2, "num_nodes": 2, "shard_over": "node"},
        {"activation_checkpointing": 1.5},
    ],
)
def test_every_wrong_value_is_named_at_once(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        TrainerConfig(**wrong)
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == list(wrong)


def test_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="expected a CUDA device for gpu, found none; use trainer=cpu"):
        assert TrainerConfig(accelerator="gpu").on_gpu


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"strategy": "fsdp", "precision": "16-mixed"}, "precision"),
    ],
)
def test_what_cannot_be_combined_is_refused(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{key}: "):
        TrainerConfig(**changes)


def test_world_size() -> None:
    assert TrainerConfig(strategy="fsdp", devices=4, num_nodes=2, accelerator="cpu").world_size == 8
    assert TrainerConfig().world_size == 1


def test_processes_are_sharded_over_all_devices() -> None:
    trainer: Any = TrainerConfig(strategy="fsdp", devices=2, accelerator="cpu").lightning(
        RunFolder(Path("."), "run"), 3, 1, []
    )
    assert (trainer.strategy._data_parallel_size, trainer.strategy._tensor_parallel_size) == (2, 1)


def test_machines_hold_copies_where_that_is_asked_for() -> None:
    config = TrainerConfig(strategy="fsdp", devices=4, num_nodes=2, accelerator="cpu", shard_over="node")
    trainer: Any = config.lightning(RunFolder(Path("."), "run"), 3, 1, [])
    assert (trainer.strategy._data_parallel_size, trainer.strategy._tensor_parallel_size) == (2, 4)
    assert config.mesh_sizes == (2, 4)


@pytest.mark.parametrize("native", [True, False])
def test_bf16_where_the_cpu_has_none_is_said(monkeypatch: pytest.MonkeyPatch, native: bool) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: native)
    notes = TrainerConfig(accelerator="cpu", precision="bf16-mixed").notes
    assert len(notes) == (0 if native else 1) and all("trainer.precision=32-true" in note for note in notes)
    assert not TrainerConfig(accelerator="cpu").notes
