"""The forecast of memory: by hand, against what a real pass keeps, and what it says where a run does not fit."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.training.make import overrides, write_lists, write_model
from tuna.config.compose import compose
from tuna.config.schema import build_all
from tuna.data.batch import Group, PackedBatch
from tuna.data.packing import pack
from tuna.errors import ConfigError
from tuna.models.checkpointing import chosen
from tuna.models.footprint import Footprint, footprint
from tuna.models.loading import load_scorer
from tuna.models.quantized import BYTES
from tuna.models.source import ModelConfig
from tuna.modules.optimizers import AdamW
from tuna.training import memory
from tuna.training.memory import Forecast, check_memory, estimate
from tuna.training.run import NODES, Components, prepare, run
from tuna.training.trainer import TrainerConfig

pytestmark = pytest.mark.once
CPU = TrainerConfig(accelerator="cpu")


def batch(groups: int = 2, length: int = 40) -> PackedBatch:
    ids = np.arange(length, dtype=np.int32) % 60 + 4
    return pack([Group("", ids, (ids, ids), (1.0, 0.0), (True, False))] * groups, row_tokens=128)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_model(tmp_path_factory.mktemp("small")))


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_model(tmp_path_factory.mktemp("tied"), tie_word_embeddings=True))


def test_weights_gradients_and_state_by_hand(small: str) -> None:
    model = ModelConfig(small)
    numbers = sum(parameter.numel() for parameter in load_scorer(model).parameters())
    found = estimate(model, CPU, AdamW(), batch())
    assert (found.weights, found.gradients, found.optimizer) == (4 * numbers, 4 * numbers, 8 * numbers)
    two = estimate(model, TrainerConfig(accelerator="cpu", strategy="fsdp", devices=2), AdamW(), batch())
    assert (two.weights, two.optimizer) == (2 * numbers, 4 * numbers) and two.gathered > 0
    one_step = estimate(model, CPU, AdamW(), batch(1, length=2), several=False, steps=1)
    assert one_step.total == 16 * numbers  # nothing of the pass is left when the state is made
    assert estimate(model, CPU, AdamW(), batch(1), several=False, steps=1).optimizer == 0  # the pass takes more


@pytest.mark.parametrize("lora", [None, 4])
def test_tied_weights_are_there_once(tied: str, lora: int | None) -> None:
    model = ModelConfig(tied, lora=lora)
    parameters = list(load_scorer(model).parameters())
    trained = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
    found = estimate(model, CPU, AdamW(), batch())
    assert found.weights == 4 * sum(parameter.numel() for parameter in parameters)
    assert (found.gradients, found.optimizer) == (4 * trained, 8 * trained)


def test_frozen_weights_by_hand(small: str) -> None:
    """Of four bits are the layers' linear weights alone; norms and adapters are always float32."""
    sizes = {name: parameter.numel() for name, parameter in load_scorer(ModelConfig(small, lora=4)).named_parameters()}
    layers = sum(size for name, size in sizes.items() if "base_layer" in name)
    ends = sum(size for name, size in sizes.items() if "embed_tokens" in name or "lm_head" in name)
    rest = 4 * (sum(sizes.values()) - layers - ends)
    assert layers and ends and rest
    cases: list[tuple[Any, Any, float, int]] = [
        ("bfloat16", None, 2, 2), ("bfloat16", "nf4", BYTES, 2), ("float32", "nf4", BYTES, 4)
    ]  # fmt: skip
    for frozen_dtype, quantize, of_layers, of_ends in cases:
        model = ModelConfig(small, lora=4, frozen_dtype=frozen_dtype, quantize=quantize)
        found = estimate(model, CPU, AdamW(), batch(1, length=2))
        assert found.weights == int(of_layers * layers + of_ends * ends + rest)


@pytest.mark.parametrize(("how", "period"), [(0.3, 10), (0.75, 4), ("selective", 1), (True, 1)])
def test_layers_after_which_a_share_repeats(how: Any, period: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def keep(*_: object, **given: object) -> Footprint:
        asked.update(given)
        return Footprint(1, 1, 1, 1, 1, 1, 1)

    monkeypatch.setattr(memory, "footprint", keep)
    estimate(ModelConfig("tiny"), replace(CPU, activation_checkpointing=how), AdamW(), batch())
    assert asked["period"] == period
    if isinstance(how, float):
        assert chosen(how, 3 * period) == 3 * chosen(how, period)


def test_a_few_layers_stand_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = str(write_model(tmp_path, num_hidden_layers=6))
    some = footprint(ModelConfig(deep), batch(1), held=True)
    monkeypatch.setattr(math, "lcm", lambda *sizes: 6)
    whole = footprint(ModelConfig(deep), batch(1), held=True)
    for name in ("weights", "gradients", "forward", "early", "late", "layer"):
        assert getattr(some, name) == pytest.approx(getattr(whole, name), rel=0.02), name


@pytest.mark.parametrize("lora", [None, 4])
def test_it_is_what_a_real_pass_keeps(tied: str, lora: int | None) -> None:
    """What autograd saves, counted with real tensors, and a little that is only there for a moment."""
    model = ModelConfig(tied, lora=lora)
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


def test_more_tokens_more_layers_recomputed_less(small: str) -> None:
    def beside(size: int, how: Any = False) -> float:
        return estimate(
            ModelConfig(small), replace(CPU, activation_checkpointing=how), AdamW(), batch(size)
        ).activations

    found = [beside(2, how) for how in (False, "selective", 0.5, True)]
    assert found[0] > 1.7 * beside(1)
    assert found[3] < found[1] < found[0] and found[3] < found[2] < found[0]


def test_other_scorers_and_precisions(small: str) -> None:
    plain = footprint(ModelConfig(small, scorer="plain"), batch())
    packed = footprint(ModelConfig(small), batch())
    assert plain.forward > packed.forward
    assert footprint(ModelConfig(small), batch(), reward=True).forward == pytest.approx(packed.forward, rel=0.2)
    assert footprint(ModelConfig(small), batch(), autocast=torch.bfloat16).forward < packed.forward


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory, small: str) -> list[str]:
    folder = tmp_path_factory.mktemp("runs")
    return overrides(Path(small), write_lists(folder / "lists.jsonl"), folder, trainer__max_steps=1)


@pytest.fixture(scope="module")
def parts(words: list[str]) -> Components:
    cfg = compose(words)
    return prepare(cfg, build_all(cfg, *NODES))


def test_a_run_says_it_and_writes_it_down(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "SMALL", 0)
    monkeypatch.setattr(memory, "available", lambda training: 10**9)
    run(compose([*words, f"runs_dir={tmp_path}", "name=run"]))
    written = json.loads((tmp_path / "run" / "run.json").read_text())["memory"]
    assert written["total"] == sum(written[k] for k in ("weights", "gradients", "optimizer", "activations", "gathered"))
    assert "memory  forecast: 0.00 GB of 1.0 GB available" in (tmp_path / "run" / "log.txt").read_text()
    monkeypatch.setattr(memory, "available", lambda training: written["total"] - 1)
    with pytest.raises(ConfigError, match=r"^memory: the run needs .*; next: trainer\.activation_checkpointing=true"):
        run(compose([*words, f"runs_dir={tmp_path}", "name=other"]))
    assert not (tmp_path / "other").exists()


def test_a_model_that_cannot_be_looked_at_trains_all_the_same(
    parts: Components, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> Forecast:
        raise RuntimeError("no meta kernel")

    monkeypatch.setattr(memory, "SMALL", 0)
    monkeypatch.setattr(memory, "footprint", fails)
    assert check_memory(parts) is None
    assert "no forecast of memory (RuntimeError: no meta kernel)" in parts.data.report.notes


SAVES = {
    "trainer.activation_checkpointing": 10, "trainer.micro_tokens": 5, "optimizer": 30, "model.lora": 50,
    "model.frozen_dtype": 20, "model.quantize": 30,
}  # fmt: skip


@pytest.fixture
def advised(parts: Components, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """What is advised for a run of 200 bytes by ``SAVES``, as printed; keys of ``lacking`` cannot be used."""

    def found(available: int, *lacking: str, **training: Any) -> str:
        def forecast(_: object, **changes: Any) -> Forecast:
            if set(lacking) & set(changes):
                raise ConfigError("not here")
            return Forecast(200 - sum(SAVES.get(key, 0) for key in changes), 0, 0, 0, available=available)

        monkeypatch.setattr(memory, "SMALL", 0)
        monkeypatch.setattr(memory, "forecast", forecast)
        with pytest.raises(ConfigError) as error:
            check_memory(replace(parts, training=replace(parts.training, **training)))
        text = re.fullmatch(r"memory: the run needs .*; next: (.*), or trainer.check_memory=false .*", str(error.value))
        assert text
        return re.sub("micro_tokens=[1-9][0-9]*", "micro_tokens=N", text[1])

    return found


def test_what_is_advised_is_what_is_needed(advised: Callable[..., str]) -> None:
    layers, tokens = "trainer.activation_checkpointing=true", "trainer.micro_tokens=N"
    assert advised(190) == layers
    assert advised(190, activation_checkpointing="selective") == layers
    assert advised(195, activation_checkpointing=True) == tokens
    assert advised(185) == f"{layers} {tokens}"
    assert advised(185, accumulate=2) == f"{layers} trainer.accumulate=null {tokens}"
    assert advised(170) == "optimizer=adafactor"
    assert advised(150) == "model.lora=16"
    assert advised(80) == f"{layers} optimizer=adafactor model.lora=16 model.quantize=nf4"
    assert advised(10) == "a smaller model, or trainer=fsdp over several devices (no setting here fits)"


def test_what_cannot_be_used_here_is_not_advised(advised: Callable[..., str]) -> None:
    assert advised(190, "trainer.activation_checkpointing") == "optimizer=adafactor"
    assert advised(80, "model.quantize").startswith("a smaller model")
    assert advised(190, *SAVES).startswith("a smaller model")


def test_adapters_are_forecast_with_what_a_run_has(parts: Components, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frozen weights are bfloat16 on a GPU where nothing is said."""
    seen: list[ModelConfig] = []

    def keep(model: ModelConfig, *_: object, **__: object) -> Forecast:
        seen.append(model)
        return Forecast(1, 0, 0, 0)

    anywhere = replace(parts, training=replace(parts.training, accelerator="auto"))
    monkeypatch.setattr(memory, "estimate", keep)
    for gpu in False, True:
        monkeypatch.setattr(torch.cuda, "is_available", lambda gpu=gpu: gpu)
        memory.forecast(anywhere, **{"model.lora": 16})
    assert [model.frozen_dtype for model in seen] == ["float32", "bfloat16"]
    assert parts.model.frozen_dtype is None
