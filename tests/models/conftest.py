"""Tiny random models with a tokenizer, made on the spot."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Tiny matrices are faster on one core, and sums keep one order."""
    torch.set_num_threads(1)


def write_tokenizer(folder: Path) -> None:
    """A word-level tokenizer of 64 words with distinct pad, bos and eos."""
    words = {word: number for number, word in enumerate(["<pad>", "<s>", "</s>", "<unk>"])}
    words |= {f"w{number}": number for number in range(4, 64)}
    inner = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    # Words are found without spaces too: an answer follows its prompt as one text.
    words_apart = pre_tokenizers.Split(Regex(r"w\d+"), "isolated")
    inner.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), words_apart])
    fast: Any = PreTrainedTokenizerFast
    fast(
        tokenizer_object=inner, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)


@pytest.fixture
def make_llama(tmp_path: Path) -> Callable[..., Path]:
    """Write a random Llama of two layers with its tokenizer and give the folder."""

    def make(name: str = "llama", *, dtype: torch.dtype = torch.float32, seed: int = 0, **overrides: Any) -> Path:
        torch.manual_seed(seed)
        settings: dict[str, Any] = {
            "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128,
            "initializer_range": 0.2, "pad_token_id": 0,
        }  # fmt: skip
        folder = tmp_path / name
        model: Any = LlamaForCausalLM(LlamaConfig(**{**settings, **overrides}))
        model.to(dtype).save_pretrained(folder)
        write_tokenizer(folder)
        return folder

    return make
