"""Tiny random models for the fixtures' tokenizers, and a quick way to teach one its template.

    write_model(fixture, folder) -> Path                          a folder as the hub has them
    load(folder) -> (model, tokenizer)                            with transformers' Auto classes, in evaluation mode
    teach(model, tokenizer, texts, steps, *, lr=1e-2) -> float    on rendered texts, in place; the last loss

The session's fixture ``model_folder`` (tests/chat/conftest.py) gives the folder of a name, written once per session.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, LlamaConfig, LlamaForCausalLM

from tests.chat.templates import Fixture

BATCH = 8


def write_model(fixture: Fixture, folder: Path) -> Path:
    """A random Llama of two layers and width 32 beside the tokenizer; generation stops at eos and ``ends_with``."""
    tokenizer = fixture.tokenizer
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        **ids,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: Any = LlamaForCausalLM(config)
    stops = sorted({tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(fixture.ends_with)})
    model.generation_config = GenerationConfig(**{**ids, "eos_token_id": stops})
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def load(folder: Path) -> tuple[Any, Any]:
    """Model and tokenizer of a folder, in float32."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model.eval(), AutoTokenizer.from_pretrained(folder)


def teach(model: Any, tokenizer: Any, texts: Sequence[str], steps: int, *, lr: float = 1e-2) -> float:
    """AdamW on the texts as they are (rendered conversations, special tokens written out), eight per step."""
    rows = [torch.tensor(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    draw = torch.Generator().manual_seed(0)
    model.train()
    last = 0.0
    for _ in range(steps):
        picked = [rows[number] for number in torch.randint(len(rows), (BATCH,), generator=draw).tolist()]
        ids = torch.nn.utils.rnn.pad_sequence(picked, batch_first=True)
        labels = torch.nn.utils.rnn.pad_sequence(picked, batch_first=True, padding_value=-100)
        loss = model(input_ids=ids, attention_mask=(labels >= 0).long(), labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        last = float(loss.detach())
    model.eval()
    return last
