"""model.lora: what the key takes, what trains, and that the export is the model that was trained."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.models.architectures import CONFIGS, build
from tests.models.conftest import write_tokenizer
from tests.models.packing import packed, random_lists
from tuna.errors import ConfigError, ModelError
from tuna.models.check import check_lora
from tuna.models.export import export
from tuna.models.folder import tensor_shapes
from tuna.models.loading import load_scorer
from tuna.models.lora import Lora, parse_lora
from tuna.models.source import ModelConfig

Make = Callable[..., Path]


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (None, None), (False, None), (True, Lora()), (16, Lora(r=16)),
        ({"r": 4, "alpha": 12, "target_modules": ["q_proj"]}, Lora(4, 12, 0.0, ("q_proj",))),
    ],
)  # fmt: skip
def test_spellings(value: Any, wanted: Lora | None) -> None:
    assert parse_lora(value) == wanted


@pytest.mark.parametrize(
    "value",
    [
        "big", 0, {"r": 0}, {"alpha": -1}, {"dropout": 1.0}, {"layers": 3}, {"target_modules": []},
        {"target_modules": None},
    ],
)  # fmt: skip
def test_refused(value: object) -> None:
    with pytest.raises(ConfigError, match=r"^lora"):
        ModelConfig(lora=value)  # type: ignore[arg-type]


ENDS = {"llama": ("q_proj", "embed_tokens"), "gpt2": ("c_attn", "wte")}


def start_of(kind: str, tied: bool, folder: Path) -> Path:
    """A random model of two layers with a tokenizer, saved."""
    config = copy.deepcopy(CONFIGS[kind])
    config.tie_word_embeddings = tied
    config.num_hidden_layers = 2
    build(config).save_pretrained(folder)
    write_tokenizer(folder)
    return folder


def trained(model: ModelConfig, steps: int = 3) -> Any:
    """A scorer with dropout off after a few optimizer steps on one batch; each adapter has had a gradient."""
    torch.manual_seed(1)
    scorer = load_scorer(model).eval()
    batch = packed(random_lists(0, 64, groups=2), [[0, 1]])
    parameters = {name: p for name, p in scorer.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(parameters.values(), lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        (scorer(batch) * torch.linspace(-1, 1, len(batch.lengths))).sum().backward()
        optimizer.step()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in parameters.values())
    return scorer


@pytest.mark.parametrize("targets", ["all-linear", "q", "head", "embed", "q head embed"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_what_was_trained_is_exported(kind: str, tied: bool, targets: str, tmp_path: Path) -> None:
    from peft import PeftModel

    query, embedding = ENDS[kind]
    names = {"q": query, "head": "lm_head", "embed": embedding}
    wanted: Any = targets if targets == "all-linear" else [names[each] for each in targets.split()]
    start = start_of(kind, tied, tmp_path / "start")
    model = ModelConfig(path=str(start), lora={"r": 3, "alpha": 7, "target_modules": wanted})
    scorer = trained(model)
    run = tmp_path / "run" / "model"
    export(scorer, run, resolved=model.resolve())

    ids = torch.arange(4, 40)[None]
    auto: Any = AutoModelForCausalLM
    base, exported = auto.from_pretrained(start), auto.from_pretrained(run)
    adapted: Any = PeftModel.from_pretrained(auto.from_pretrained(start), str(tmp_path / "run" / "adapter"))
    with torch.no_grad():
        logits = scorer.model(ids).logits
        assert (logits - base(ids).logits).abs().max() > 0.05
        torch.testing.assert_close(exported(ids).logits, logits, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(adapted.eval()(ids).logits, logits, rtol=1e-4, atol=1e-4)

    untied = not tied or targets in ("head", "embed", "q head embed")
    assert exported.config.tie_word_embeddings is not untied
    assert json.loads((run / "config.json").read_text()).get("tie_word_embeddings", kind == "gpt2") is not untied
    assert ("lm_head.weight" in tensor_shapes(run)) is untied


def test_an_adapter_tensor_that_nothing_merges_is_an_error(make_llama: Make, tmp_path: Path) -> None:
    model = ModelConfig(path=str(make_llama()), lora=2)
    scorer = load_scorer(model)
    scorer.model.model.norm.register_parameter("lora_scale", torch.nn.Parameter(torch.ones(1)))
    with pytest.raises(ModelError, match=r"adapter tensors that belong to no layer.*: model\.norm\.lora_scale"):
        export(scorer, tmp_path / "model", resolved=model.resolve())


@pytest.mark.parametrize(
    ("targets", "told"),
    [
        (["q_proj", "nowhere"], r"'nowhere' is no module; expected all-linear or a list of those that Llama\w* has: "
                                r"down_proj, embed_tokens, gate_proj, k_proj, lm_head, o_proj, q_proj, up_proj, v_pr"),
        (["proj"], "'proj' is no module"),
        ("q_proj", "'q_proj' is no module"),
        (["self_attn"], r"'self_attn' is model\.layers\.0\.self_attn, a LlamaAttention, which takes no adapter"),
        (["q_proj", "norm"], r"'norm' is model\.norm, a LlamaRMSNorm"),
    ],
)  # fmt: skip
def test_modules_are_refused_by_name_before_weights_load(
    make_llama: Make, monkeypatch: pytest.MonkeyPatch, targets: Any, told: str
) -> None:
    monkeypatch.setattr("tuna.models.loading.load_model", lambda *_, **__: pytest.fail("read the weights"))
    with pytest.raises(ModelError, match=rf"model\.lora\.target_modules: {told}"):
        load_scorer(ModelConfig(path=str(make_llama()), lora={"target_modules": targets}))


def test_a_layer_by_its_number_and_a_regular_expression(make_llama: Make) -> None:
    folder = str(make_llama())
    for targets in (["layers.1.self_attn.q_proj"], r"model\.layers\.1\..*q_proj"):
        scorer = load_scorer(ModelConfig(path=folder, lora={"r": 2, "target_modules": targets}))
        adapted = {name.partition(".lora_")[0] for name, p in scorer.named_parameters() if p.requires_grad}
        assert adapted == {"model.model.layers.1.self_attn.q_proj"}


def test_adapters_that_cannot_be_merged_are_refused_before_weights_load(tmp_path: Path) -> None:
    """OPT's embedding of positions adds an offset to what it is given, which an adapter on it does not."""
    build(CONFIGS["opt"]).save_pretrained(tmp_path)
    write_tokenizer(tmp_path)
    with pytest.raises(ModelError, match=r"OPTForCausalLM with adapters on embed_positions .*name others"):
        load_scorer(ModelConfig(path=str(tmp_path), lora={"target_modules": ["embed_positions"]}))


@pytest.mark.parametrize("kind", CONFIGS)
def test_every_architecture_takes_adapters_in_both_ends(kind: str) -> None:
    """Scaled embeddings (Gemma), projected ones (OPT), logit scales (Cohere, Granite), a bias on the head (Phi)."""
    ends = ({"gpt2": "wte", "gpt_neox": "embed_in"}.get(kind, "embed_tokens"), "lm_head")
    check_lora(CONFIGS[kind], Lora(r=2, target_modules=ends))
