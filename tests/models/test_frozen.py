"""Frozen weights in bfloat16: layers compute as in float32 on the rounded weights, and little else stays in memory."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from tests.models.architectures import CONFIGS, build
from tests.models.conftest import write_tokenizer
from tests.models.packing import packed, random_lists
from tests.models.test_shards import process
from tuna.models.frozen import HalfLinear, halve
from tuna.models.loading import Sharding, load_reward_scorer, load_scorer
from tuna.models.scorer import ResponseScorer
from tuna.models.source import ModelConfig


def start_of(kind: str, folder: Path) -> Path:
    build(copy.deepcopy(CONFIGS[kind])).save_pretrained(folder)
    write_tokenizer(folder)
    return folder


def rounded(model: Any) -> None:
    """By hand: the frozen matrices, to what bfloat16 holds, in float32."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            own = "embed_positions" in name  # a class of OPT's own
            if parameter.dim() >= 2 and not parameter.requires_grad and not own:
                parameter.copy_(parameter.bfloat16().float())


def gradients(scorer: Any) -> dict[str, Tensor]:
    torch.manual_seed(0)  # OPT has dropout
    values = scorer(packed(random_lists(0, 64, groups=3), [[0, 1], [2]]))
    (values * torch.linspace(-1, 1, len(values))).sum().backward()
    found = {name: p.grad for name, p in scorer.named_parameters() if p.grad is not None}
    return {"values": values.detach()} | found


@pytest.mark.parametrize("kind", ["llama", "llama_tied", "gemma3", "gpt2", "opt", "cohere"])
def test_layers_compute_in_float32_on_rounded_weights(kind: str, tmp_path: Path) -> None:
    """Values and the adapters' gradients; Gemma scales its embeddings, GPT-2 has weights of its own orientation."""
    folder = start_of(kind, tmp_path)
    found = {}
    for half in (True, False):
        torch.manual_seed(0)
        scorer: Any = load_scorer(ModelConfig(str(folder), lora=4, frozen_dtype="bfloat16" if half else "float32"))
        with torch.no_grad():
            for name, parameter in scorer.named_parameters():
                if "lora_B" in name:
                    parameter.fill_(0.02)
        if half:
            assert scorer.dtype("cpu") == torch.float32
        else:
            rounded(scorer.model)
        found[half] = gradients(scorer)
    assert found[True].keys() == found[False].keys() and len(found[True]) > 4
    for name, wanted in found[False].items():
        torch.testing.assert_close(found[True][name], wanted, rtol=1e-5, atol=1e-5, msg=name)


def test_the_difference_is_that_of_bfloat16(tmp_path: Path) -> None:
    folder = start_of("llama", tmp_path)
    values = [
        load_scorer(ModelConfig(str(folder), lora=4, frozen_dtype=kind))(packed(random_lists(0, 64), [[0, 1, 2, 3, 4]]))
        for kind in ("float32", "bfloat16")
    ]
    difference = ((values[0] - values[1]).abs() / values[0].abs()).max().item()
    assert 1e-6 < difference < 0.03


def test_types_and_ties(tmp_path: Path) -> None:
    model: Any = load_scorer(ModelConfig(str(start_of("llama_tied", tmp_path)), lora=4, frozen_dtype="bfloat16")).model
    kinds = {name: parameter.dtype for name, parameter in model.named_parameters()}
    half = {name for name, kind in kinds.items() if kind == torch.bfloat16}
    assert half == {n for n, p in model.named_parameters() if p.dim() == 2 and ".lora_" not in n}
    assert all(kinds[name] == torch.float32 for name in kinds.keys() - half)
    assert model.lm_head.weight is model.model.embed_tokens.weight and isinstance(model.lm_head, HalfLinear)


def test_only_the_half_weight_is_kept_for_the_backward_pass() -> None:
    """float32 copies of all layers at once would take the memory that halving saves."""
    model = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64)).requires_grad_(False)
    model.get_input_embeddings = lambda: None  # type: ignore[assignment]
    assert halve(model) == 2 * 64 * 64
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):  # type: ignore[func-returns-value]
        model(torch.randn(3, 64, requires_grad=True))
    assert [tensor.dtype for tensor in kept if tensor.numel() == 64 * 64] == [torch.bfloat16] * 2


def test_under_autocast_weights_are_those_of_float32(tmp_path: Path) -> None:
    """bf16-mixed casts them in any case, so on weights that the file has in bfloat16 nothing changes."""
    folder = start_of("llama", tmp_path)
    values = []
    for kind in ("float32", "bfloat16"):
        torch.manual_seed(0)
        scorer: Any = load_scorer(ModelConfig(str(folder), lora=4, frozen_dtype=kind))
        if kind == "float32":
            rounded(scorer.model)
        with torch.autocast("cpu", torch.bfloat16):
            values.append(scorer(packed(random_lists(0, 64), [[0, 1, 2, 3, 4]])).detach())
    torch.testing.assert_close(*values, rtol=1e-4, atol=1e-4)


@pytest.mark.once
def test_a_reward_head_trains_in_float32(tmp_path: Path) -> None:
    scorer: Any = load_reward_scorer(ModelConfig(str(start_of("llama", tmp_path)), lora=4, frozen_dtype="bfloat16"))
    assert scorer.model.score.weight.dtype == torch.float32 and scorer.model.score.weight.requires_grad
    found = gradients(scorer)
    assert float(found["model.score.weight"].abs().max()) > 0
    assert all(p.dtype == torch.float32 for p in scorer.parameters() if p.requires_grad)


@pytest.mark.once
def test_shards_are_those_of_one_process(tmp_path: Path) -> None:
    model = ModelConfig(str(start_of("gemma3", tmp_path)), scorer="plain", lora=4, frozen_dtype="bfloat16")
    torch.manual_seed(0)
    whole = dict(load_scorer(model).named_parameters())
    for rank in range(2):
        with process(rank, 2) as mesh:
            torch.manual_seed(0)
            scorer: Any = load_scorer(model, sharding=Sharding(mesh))
            for name, parameter in scorer.named_parameters():
                assert isinstance(parameter, DTensor) and parameter.dtype == whole[name].dtype
                mine = whole[name].chunk(2)[rank] if len(whole[name]) > rank else whole[name][:0]
                torch.testing.assert_close(parameter.to_local(), mine, rtol=0, atol=0, msg=name)


@pytest.mark.once
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_sharded_step(precision: str, tmp_path: Path) -> None:
    """One process of one: gathered weights of two types, and what embeddings give in the type of the layers."""
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh

    model = ModelConfig(str(start_of("llama", tmp_path)), lora=4, frozen_dtype="bfloat16")
    torch.manual_seed(0)
    alone = gradients(load_scorer(model))
    dist.init_process_group("gloo", rank=0, world_size=1, store=torch._C._distributed_c10d.HashStore())
    try:
        mesh = init_device_mesh("cpu", (1,), mesh_dim_names=(precision,))
        torch.manual_seed(0)
        scorer: Any = load_scorer(model, sharding=Sharding(mesh, precision, checkpoint_activations=0.5))
        assert isinstance(scorer, ResponseScorer)
        found = {n: g.full_tensor() if isinstance(g, DTensor) else g for n, g in gradients(scorer).items()}
    finally:
        dist.destroy_process_group()
    close = 1e-4 if precision == "32-true" else 0.1
    torch.testing.assert_close(found["values"], alone["values"], rtol=close, atol=close)
    assert found.keys() == alone.keys()
