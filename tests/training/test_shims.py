"""tuna.training.shims: Ctrl-C at the worst of moments."""

import json
import signal
import threading
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor, nn

from tests.training.kills import start
from tests.training.make import overrides
from tuna.training.shims import interruptible

pytestmark = pytest.mark.once


class Dropping:
    """Ctrl-C while an object is deleted: Python prints the KeyboardInterrupt and goes on."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


class Module(pl.LightningModule):
    def __init__(self, part: str) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.part = part
        self.steps = 0

    def step(self, part: str) -> Tensor:
        self.steps += 1
        if part == self.part and self.steps == 3:
            Dropping()
        return self.weight.sum()

    def training_step(self, *_: Any) -> Tensor:
        return self.step("fit")

    def validation_step(self, *_: Any) -> None:
        self.step("validate")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore:.*num_workers")
@pytest.mark.parametrize("part", ["fit", "validate"])
def test_an_interrupt_that_python_dropped_ends_the_call(part: str, tmp_path: Path) -> None:
    trainer = pl.Trainer(
        max_steps=10,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    module, data = Module(part), torch.utils.data.DataLoader[int](range(10))  # type: ignore[arg-type]
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), interruptible(trainer):
        getattr(trainer, part)(module, data)
    assert module.steps == 3
    assert signal.getsignal(signal.SIGINT) is before


def test_a_fault_that_an_interrupt_made_is_the_interrupt() -> None:
    trainer = pl.Trainer(logger=False, enable_checkpointing=False)
    with pytest.raises(KeyboardInterrupt), interruptible(trainer):
        try:
            raise KeyboardInterrupt  # by SIGTERM, say
        finally:
            raise AttributeError("a clean-up of what was not made yet")


@pytest.mark.parametrize("theirs", [signal.SIG_IGN, lambda *_: None])
def test_a_handler_that_is_not_pythons_own_is_left(theirs: Any) -> None:
    trainer = pl.Trainer(logger=False, enable_checkpointing=False)
    before = signal.signal(signal.SIGINT, theirs)
    try:
        with interruptible(trainer):
            assert signal.getsignal(signal.SIGINT) is theirs
        assert signal.getsignal(signal.SIGINT) is theirs
    finally:
        signal.signal(signal.SIGINT, before)


def test_it_works_in_a_thread() -> None:
    trainer = pl.Trainer(logger=False, enable_checkpointing=False)
    count, seen = len(trainer.callbacks), []  # type: ignore[attr-defined]

    def inside() -> None:
        with interruptible(trainer):
            seen.append(True)

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert seen and len(trainer.callbacks) == count  # type: ignore[attr-defined]


def test_ctrl_c_is_an_interrupt(llama: Path, lists: Path, tmp_path: Path) -> None:
    args = overrides(llama, lists, tmp_path, name="run", trainer__max_epochs=500)
    process = start(args)
    log = tmp_path / "run" / "log.txt"
    while not (log.exists() and "  loss " in log.read_text()):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "interrupted"
