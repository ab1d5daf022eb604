"""trainer.activation_checkpointing: the same values and gradients, with less kept."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.models.packing import packed, random_lists
from tests.models.test_frozen import gradients, start_of
from tuna.errors import ConfigError
from tuna.models.checkpointing import Checkpointing, checkpoint_layers, chosen
from tuna.models.loading import load_scorer
from tuna.models.source import ModelConfig


def kept(scorer: Any) -> int:
    """Bytes that a forward pass keeps for the backward pass."""
    held: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        scorer(packed(random_lists(0, 64, groups=3, longest=30), [[0, 1, 2]]))
    return sum(held.values())


@pytest.mark.parametrize("kind", ["llama", "gemma3", "gpt2"])
@pytest.mark.parametrize("lora", [None, 4])
@pytest.mark.parametrize("how", [True, 0.5, "selective"])
def test_the_same_values_and_gradients(kind: str, lora: int | None, how: Checkpointing, tmp_path: Path) -> None:
    folder = start_of(kind, tmp_path)
    found = []
    for choice in (False, how):
        torch.manual_seed(0)
        scorer: Any = load_scorer(ModelConfig(str(folder), lora=lora))
        checkpoint_layers(scorer.model, choice)
        found.append(gradients(scorer))
    assert found[0].keys() == found[1].keys() and len(found[0]) > 4
    for name, wanted in found[0].items():
        torch.testing.assert_close(found[1][name], wanted, rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.once
def test_less_is_kept(tmp_path: Path) -> None:
    folder, bytes_of = start_of("llama", tmp_path), {}
    for how in (False, 0.34, 0.67, True):
        scorer: Any = load_scorer(ModelConfig(str(folder)))
        checkpoint_layers(scorer.model, how)
        bytes_of[how] = kept(scorer)
    assert list(bytes_of.values()) == sorted(bytes_of.values(), reverse=True)
    assert bytes_of[True] < 0.5 * bytes_of[False] and len(set(bytes_of.values())) == 4


def test_shares_are_spread() -> None:
    assert chosen(1 / 3, 6) == [False, False, True] * 2
    assert [sum(chosen(share, 30)) for share in (0.1, 0.5, 0.9)] == [3, 15, 27]


@pytest.mark.once
def test_a_class_that_cannot_is_refused() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    model: Any = LlamaForCausalLM(LlamaConfig(vocab_size=8, hidden_size=8, intermediate_size=8, num_attention_heads=1))
    model.supports_gradient_checkpointing = False
    with pytest.raises(ConfigError, match=r"^trainer.activation_checkpointing: LlamaForCausalLM does not support"):
        checkpoint_layers(model, True)
