"""What the machine has of memory."""

from pathlib import Path

import pytest

from tuna.training import machine
from tuna.training.trainer import TrainerConfig

CPU = TrainerConfig(accelerator="cpu")


def test_what_a_control_group_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 300\ninactive_file 400\n")
    monkeypatch.setattr(machine, "GROUPS", tmp_path)
    assert machine.available(CPU) == 700
    assert machine.available(TrainerConfig(accelerator="cpu", strategy="fsdp", devices=2)) == 350
    (tmp_path / "memory.max").write_text("max\n")
    left = machine.available(CPU)
    assert left is not None and left > 10**6
