"""The forecast of memory: by hand, against what a real pass keeps, and what it says where a run does not fit."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.training.make import overrides, write_lists, write_model
from tuna.config.compose import compose
from tuna.data.batch import Group, PackedBatch
from tuna.data.packing import pack
from tuna.errors import ConfigError
from tuna.models.footprint import footprint
from tuna.models.loading import load_scorer
from tuna.models.source import ModelConfig
from tuna.modules.optimizers import AdamW
from tuna.training import memory
from tuna.training.memory import Forecast, estimate
from tuna.training.run import run
from tuna.training.trainer import TrainerConfig

pytestmark = pytest.mark.once
CPU = TrainerConfig(accelerator="cpu")


def batch(groups: int = 2, length: int = 40) -> PackedBatch:
    ids = np.arange(length, dtype=np.int32) % 60 + 4
    return pack([Group("", ids, (ids, ids), (1.0, 0.0), (True, False))] * groups, row_tokens=128)


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_model(tmp_path_factory.mktemp("deep"), num_hidden_layers=8, max_position_embeddings=256))


def test_weights_gradients_and_state_by_hand(deep: str) -> None:
    model = ModelConfig(deep)
    numbers = sum(parameter.numel() for parameter in load_scorer(model).parameters())
    found = estimate(model, CPU, AdamW(), batch())
    assert (found.weights, found.gradients, found.optimizer) == (4 * numbers, 4 * numbers, 8 * numbers)
    half = estimate(ModelConfig(deep, lora=4, frozen_dtype="bfloat16"), CPU, AdamW(), batch())
    assert half.weights - half.gradients == pytest.approx(2 * numbers, rel=0.02)  # adapters are both
    two = estimate(model, TrainerConfig(accelerator="cpu", strategy="fsdp", devices=2), AdamW(), batch())
    assert (two.weights, two.optimizer) == (2 * numbers, 4 * numbers) and two.gathered > 0


def test_a_few_layers_stand_for_all(deep: str, monkeypatch: pytest.MonkeyPatch) -> None:
    some = footprint(ModelConfig(deep), batch(), held=True)
    monkeypatch.setattr(math, "lcm", lambda *sizes: 8)
    whole = footprint(ModelConfig(deep), batch(), held=True)
    for name in ("weights", "gradients", "forward", "early", "late", "layer"):
        assert getattr(some, name) == pytest.approx(getattr(whole, name), rel=0.02), name


@pytest.mark.parametrize("lora", [None, 4])
def test_it_is_what_a_real_pass_keeps(deep: str, lora: int | None) -> None:
    """What autograd saves, counted with real tensors, and a little that is only there for a moment."""
    model = ModelConfig(deep, lora=lora)
    scorer: Any = load_scorer(model)
    weights = {parameter.untyped_storage().data_ptr() for parameter in scorer.parameters()}
    held: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            held[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        scorer(batch())
    kept = sum(tensor.untyped_storage().nbytes() for tensor in held.values())
    assert kept < footprint(model, batch()).forward < 1.3 * kept


def test_more_tokens_more_layers_recomputed_less(deep: str) -> None:
    def beside(size: int, **changes: Any) -> float:
        return estimate(ModelConfig(deep), replace(CPU, **changes), AdamW(), batch(size)).activations

    assert beside(4) > 1.7 * beside(2)
    shares = [beside(4, activation_checkpointing=how) for how in (False, 0.5, True)]
    assert shares == sorted(shares, reverse=True) and shares[2] < 0.5 * shares[0]
    assert shares[2] < beside(4, activation_checkpointing="selective") < shares[0]


def test_other_scorers_and_precisions(deep: str) -> None:
    plain = footprint(ModelConfig(deep, scorer="plain"), batch())
    packed = footprint(ModelConfig(deep), batch())
    assert plain.forward > packed.forward
    assert footprint(ModelConfig(deep), batch(), reward=True).forward == pytest.approx(packed.forward, rel=0.2)
    assert footprint(ModelConfig(deep), batch(), autocast=torch.bfloat16).forward < packed.forward


def parts_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, available: int) -> list[str]:
    monkeypatch.setattr(memory, "SMALL", 0)
    monkeypatch.setattr(memory, "available", lambda training: available)
    return overrides(write_model(tmp_path / "model"), write_lists(tmp_path / "lists.jsonl"), tmp_path, name="run")


def test_a_run_says_it_and_writes_it_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(compose([*parts_of(tmp_path, monkeypatch, 10**9), "trainer.max_steps=1"]))
    written = json.loads((tmp_path / "run" / "run.json").read_text())["memory"]
    assert written["total"] == sum(written[k] for k in ("weights", "gradients", "optimizer", "activations", "gathered"))
    assert "memory  forecast: 0.00 GB of 1.0 GB available" in (tmp_path / "run" / "log.txt").read_text()


def test_a_run_that_does_not_fit_is_refused_with_what_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = parts_of(tmp_path, monkeypatch, 10**9)
    run(compose([*words, "trainer.max_steps=1", "name=first"]))
    whole = json.loads((tmp_path / "first" / "run.json").read_text())["memory"]["total"]
    monkeypatch.setattr(memory, "available", lambda training: whole - 1)
    with pytest.raises(ConfigError, match=r"^memory: the run needs .*; next: trainer\.activation_checkpointing=true"):
        run(compose([*words, "trainer.max_steps=1"]))
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(memory, "available", lambda training: 10)
    with pytest.raises(ConfigError, match=r"next: a smaller model, or trainer=fsdp .* or trainer.check_memory=false"):
        run(compose([*words, "trainer.max_steps=1"]))
    run(compose([*words, "trainer.max_steps=1", "trainer.check_memory=false"]))


def test_a_model_that_cannot_be_looked_at_trains_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> Forecast:
        raise RuntimeError("no meta kernel")

    words = parts_of(tmp_path, monkeypatch, 10**9)
    monkeypatch.setattr(memory, "footprint", fails)
    run(compose([*words, "trainer.max_steps=1"]))
    assert "note: no forecast of memory (RuntimeError: no meta kernel)" in (tmp_path / "run" / "log.txt").read_text()


def test_what_a_control_group_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 300\ninactive_file 400\n")
    monkeypatch.setattr(memory, "GROUPS", tmp_path)
    assert memory.available(CPU) == 700
    assert memory.available(TrainerConfig(accelerator="cpu", strategy="fsdp", devices=2)) == 350
    (tmp_path / "memory.max").write_text("max\n")
    left = memory.available(CPU)
    assert left is not None and left > 10**6
