"""What keys and values take, beside those that transformers keeps; tests/training/test_memory.py has the rest."""

from typing import Any

import pytest
import torch

from tests.models.architectures import CONFIGS, UNFIT, build
from tuna.models.footprint import cache_bytes

ROWS, PROMPT, DRAWN = 2, 9, 4


@pytest.mark.parametrize("name", ["llama", "qwen2_sliding", "mistral", "gemma3", "gpt2", "llama4_chunked"])
def test_keys_and_values_take_what_is_said(name: str) -> None:
    model = build(CONFIGS[name])
    with torch.inference_mode():
        cache: Any = model(input_ids=torch.ones(ROWS, PROMPT, dtype=torch.long), use_cache=True).past_key_values
        for _ in range(DRAWN):
            model(input_ids=torch.ones(ROWS, 1, dtype=torch.long), past_key_values=cache, use_cache=True)
    held = [each.untyped_storage().nbytes() for layer in cache.layers for each in (layer.keys, layer.values)]
    assert ROWS * cache_bytes(CONFIGS[name], PROMPT + DRAWN, itemsize=4) == sum(held)


def test_a_model_with_a_state_keeps_no_keys() -> None:
    assert cache_bytes(UNFIT["mamba"], 10, itemsize=4) == 0
