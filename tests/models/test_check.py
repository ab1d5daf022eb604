"""The check at load: what it lets through, what it refuses, and that a wrong mask does not pass it."""

import copy
import time

import pytest
import torch
import transformers as hf

from tests.models.architectures import CONFIGS, UNFIT
from tuna.errors import ModelError
from tuna.models import check, masks
from tuna.models.check import check_packing

REAL = {
    "llama": hf.LlamaConfig(num_key_value_heads=8, max_position_embeddings=4096),
    "qwen2": hf.Qwen2Config(use_sliding_window=True, sliding_window=4096, max_window_layers=16),
    "mistral": hf.MistralConfig(),
    "gemma": hf.GemmaConfig(),
    "gemma2": hf.Gemma2Config(),
    "gemma3": hf.Gemma3TextConfig(),
    "gpt2": hf.GPT2Config(),
    "opt_350m": hf.OPTConfig(hidden_size=1024, word_embed_proj_dim=512, num_attention_heads=16, ffn_dim=4096),
    "gpt_neox": hf.GPTNeoXConfig(),
    "phi3": hf.Phi3Config(sliding_window=2047),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_exact_architectures_pass(name: str) -> None:
    check_packing(CONFIGS[name])


@pytest.mark.parametrize("name", REAL)
def test_real_sizes_pass_quickly_and_are_not_changed(name: str) -> None:
    before, start = copy.deepcopy(REAL[name].to_dict()), time.process_time()
    check_packing(REAL[name])
    assert time.process_time() - start < 2
    assert REAL[name].to_dict() == before


@pytest.mark.parametrize("name", UNFIT)
def test_unfit_architectures_are_refused_with_the_way_out(name: str) -> None:
    with pytest.raises(ModelError, match=r"model\.scorer=plain"):
        check_packing(UNFIT[name])


@pytest.mark.parametrize("name", ["mistral", "qwen2", "gemma3"])
def test_a_mask_that_switches_windows_off_does_not_pass(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a plain 4D mask does to these models, silently."""
    monkeypatch.setitem(masks.RULES, "sliding_attention", lambda config: None)
    with pytest.raises(ModelError, match=r"ForCausalLM.*differ by .*e-?\d+.*model\.scorer=plain"):
        check_packing(REAL[name])


def test_a_boolean_mask_under_eager_attention_does_not_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "_additive", lambda batch, rule, dtype: masks._visible(batch, rule))
    with pytest.raises(ModelError, match="differ by"):
        check_packing(REAL["llama"], attention="eager")


def test_it_draws_from_no_one_elses_random_numbers() -> None:
    torch.manual_seed(1)
    wanted = torch.rand(1)
    torch.manual_seed(1)
    check_packing(CONFIGS["llama"])
    assert torch.equal(torch.rand(1), wanted)


def test_the_copy_keeps_every_layer_type_and_shrinks_windows() -> None:
    small = check._shrunk(REAL["gemma3"], shrink_heads=True)
    assert set(small.layer_types) == {"sliding_attention", "full_attention"}
    assert small.num_hidden_layers == len(small.layer_types) == 2
    assert small.sliding_window == check.WINDOW
    assert small.head_dim == REAL["gemma3"].head_dim
