"""QLoRA: refused before weights load where it cannot be; with bitsandbytes, a run exports what it measured."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.make import overrides, write_lists, write_model
from tuna.config.compose import compose
from tuna.errors import ConfigError
from tuna.models import quantized
from tuna.models.loading import load_scorer
from tuna.models.reward import writer
from tuna.models.source import ModelConfig
from tuna.training.frozen_dtype import settle_frozen
from tuna.training.run import run
from tuna.training.trainer import TrainerConfig

CPU = TrainerConfig(accelerator="cpu")


def test_what_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in (("quantize", "nf4"), ("frozen_dtype", "bfloat16")):
        given: dict[str, Any] = {key: value}
        with pytest.raises(
            ConfigError, match=rf"^model.{key}: without model.lora no weight is frozen; next: model.lora"
        ):
            settle_frozen(ModelConfig(**given), CPU)
    sharded = TrainerConfig(accelerator="cpu", strategy="fsdp", devices=2)
    with pytest.raises(ConfigError, match=r"^model.quantize: 4-bit weights are not sharded; next: trainer=gpu"):
        settle_frozen(ModelConfig(lora=4, quantize="nf4"), sharded)
    monkeypatch.setattr(quantized, "is_bitsandbytes_available", lambda: False)
    monkeypatch.setattr(quantized, "is_accelerate_available", lambda: True)
    with pytest.raises(ConfigError, match=r"needs bitsandbytes, not installed .* pip install 'tuna-ranking\[bitsand"):
        settle_frozen(ModelConfig(lora=4, quantize="nf4"), CPU)
    with pytest.raises(ConfigError, match=r"^model.quantize: expected null; only train.py quantizes"):
        writer(ModelConfig(quantize="nf4"))


def test_the_type_of_frozen_weights_by_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU float32, so that figures are what they were."""
    found = []
    for gpu, precision in ((False, "32-true"), (True, "bf16-mixed"), (True, "16-mixed")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda gpu=gpu: gpu)
        model, full = ModelConfig(lora=4), ModelConfig()
        settle_frozen(model, TrainerConfig(precision=precision))  # type: ignore[arg-type]
        settle_frozen(full, TrainerConfig())
        found.append(model.frozen_dtype)
        assert full.frozen_dtype is None
    assert found == ["float32", "bfloat16", "float32"]


@pytest.mark.parametrize("stage", ["tuna_c", "prm"])
def test_a_run_exports_what_it_measured(stage: str, tmp_path: Path) -> None:
    """Resumed from a checkpoint too."""
    pytest.importorskip("bitsandbytes")
    pytest.importorskip("accelerate")
    sizes = {"hidden_size": 64, "intermediate_size": 128}
    start, lists = write_model(tmp_path / "model", **sizes), write_lists(tmp_path / "lists.jsonl")

    def train(start: Path, name: str, **changes: object) -> dict[str, Any]:
        run(compose(overrides(start, lists, tmp_path, name=name, stage=stage, **changes)))
        written: dict[str, Any] = json.loads((tmp_path / name / "run.json").read_text())
        return written

    settings = {"model__lora": 4, "model__quantize": "nf4", "module__lr": 0.02, "trainer__max_steps": 6}
    first = train(start, "first", **settings)
    again = train(tmp_path / "first", "again", trainer__max_steps=1)
    assert again["before"]["loss"] == pytest.approx(first["after"]["loss"], rel=1e-4)
    assert abs(first["after"]["loss"] - first["before"]["loss"]) > 1e-3
    (tmp_path / "first" / "checkpoints" / "step-6").rename(tmp_path / "gone")
    (tmp_path / "first" / "run.json").write_text(json.dumps(first | {"status": "interrupted"}))
    resumed = train(start, "first", resume="auto", **settings)
    assert resumed["after"]["loss"] == pytest.approx(first["after"]["loss"], rel=1e-5)


def test_linear_layers_alone_are_quantized(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    pytest.importorskip("accelerate")
    folder = write_model(tmp_path / "model", hidden_size=64, intermediate_size=128)
    model: Any = load_scorer(ModelConfig(str(folder), lora=4, quantize="nf4", frozen_dtype="float32")).model
    kinds = {name: parameter.dtype for name, parameter in model.named_parameters() if ".lora_" not in name}
    assert {name for name, kind in kinds.items() if kind == torch.uint8} == {n for n in kinds if "base_layer" in n}
    assert {kind for name, kind in kinds.items() if "base_layer" not in name} == {torch.float32}
