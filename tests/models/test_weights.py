"""Weights that are not those of the config are refused by name, before one is read."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.models.architectures import CONFIGS, build
from tests.models.conftest import write_tokenizer
from tuna.errors import ModelError
from tuna.models.loading import load_reward_model, load_scorer
from tuna.models.source import ModelConfig
from tuna.models.weights import check_weights

pytestmark = pytest.mark.once  # computes nothing that kernels could round

Make = Callable[..., Path]


def change(folder: Path, how: Callable[[dict[str, Tensor]], object], **config: Any) -> ModelConfig:
    state = load_file(folder / "model.safetensors")
    how(state)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    held = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(held | config))
    return ModelConfig(path=str(folder))


def keep(state: dict[str, Tensor]) -> None:
    """No damage."""


NORM = "model.norm.weight"
FAULTS: list[tuple[Callable[[dict[str, Tensor]], object], dict[str, Any], str]] = [
    (keep, {"num_hidden_layers": 1}, r"no place for model\.layers\.1\..* and 6 more; transformers would leave out"),
    (keep, {"num_hidden_layers": 3}, r"lack model\.layers\.2\..* and 6 more; transformers would fill them with noise"),
    (keep, {"num_hidden_layers": 9000}, r"config\.json has 9000 layers, the weights are \d+ tensors"),
    (
        keep,
        {"intermediate_size": 64},
        r"other shapes than config\.json says: .*down_proj\.weight \[32, 48\] in place of",
    ),
    (keep, {"hidden_size": 4_000_000, "head_dim": 8}, r"other shapes than config\.json says"),
    (keep, {"hidden_act": "none such"}, r"cannot build a model of its config\.json"),
    (lambda state: state.pop(NORM), {}, r"lack model\.norm\.weight"),
    (lambda state: state.update({NORM: state[NORM][:5].clone()}), {}, r"model\.norm\.weight \[5\] in place of \[32\]"),
    (lambda state: state.update({"model.x.weight": state[NORM].clone()}), {}, r"no place for model\.x\.weight"),
    (lambda state: state.update({NORM: state[NORM].char()}), {}, r"model\.norm\.weight holds whole numbers"),
]


@pytest.mark.parametrize(("how", "config", "message"), FAULTS)
def test_weights_of_another_config(
    make_llama: Make, monkeypatch: pytest.MonkeyPatch, how: Any, config: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr("tuna.models.loading.load_model", lambda *_, **__: pytest.fail("read the weights"))
    monkeypatch.setattr("tuna.models.loading.check_packing", lambda *_, **__: pytest.fail("built a copy"))
    model = change(make_llama(), how, **config)
    with pytest.raises(ModelError, match=message) as caught:
        load_scorer(model)
    assert model.path in str(caught.value) and "give the config.json that was saved with" in str(caught.value)
    if "num_hidden_layers" in config:
        with pytest.raises(ModelError, match=message):
            check_weights(model, reward=True)


@pytest.mark.parametrize(
    "name", ["score.weight", "v_head.summary.weight", "model.layers.0.self_attn.rotary_emb.inv_freq", "classifier.bias"]
)
def test_heads_and_tables_that_are_computed_may_be_left_out(make_llama: Make, name: str) -> None:
    model = change(make_llama(), lambda state: state.update({name: torch.zeros(1)}))
    check_weights(model)


@pytest.mark.parametrize("kind", CONFIGS)
def test_sound_folders_of_every_architecture_fit(tmp_path: Path, kind: str) -> None:
    build(CONFIGS[kind]).save_pretrained(tmp_path)
    write_tokenizer(tmp_path)
    model = ModelConfig(path=str(tmp_path))
    check_weights(model)


def test_a_reward_model_has_to_have_its_head(make_llama: Make) -> None:
    folder = make_llama()
    model = ModelConfig(path=str(folder))
    check_weights(model, reward=True)  # a causal one gets a fresh head
    load_reward_model(model).save_pretrained(folder)
    model = ModelConfig(path=str(folder))
    check_weights(model, reward=True)
    model = change(folder, lambda state: state.pop("score.weight"))
    with pytest.raises(ModelError, match=r"lack score\.weight"):
        check_weights(model, reward=True)


@pytest.mark.parametrize(
    ("file", "given"), [("config", 64), ("generation_config", [2, 99]), ("generation_config", "x")]
)
def test_special_ids_beyond_the_embedding(make_llama: Make, file: str, given: Any) -> None:
    folder = make_llama()
    held = json.loads((folder / f"{file}.json").read_text())
    (folder / f"{file}.json").write_text(json.dumps(held | {"eos_token_id": given}))
    with pytest.raises(ModelError, match=rf"{file}\.json: eos_token_id: expected an id below .* 64 rows, got .*, 2$"):
        ModelConfig(path=str(folder)).tokenizer()


def test_the_first_llamas_padding_id_is_none(make_llama: Make) -> None:
    folder = make_llama()
    change(folder, keep, pad_token_id=-1)
    ModelConfig(path=str(folder)).tokenizer()
