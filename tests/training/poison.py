"""Models with finite weights that compute NaN for one word, and lists in which one record holds it."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel

from tests.models.conftest import write_tokenizer
from tests.training.make import write_lists, write_model

WORD, HUGE = 63, 3e38
BAD = 11  # the record that holds it: line 12, id 11


def nan_loss(folder: Path) -> Path:
    """A GPT-2 whose LayerNorm overflows at w63: its log-probabilities are NaN."""
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=128, initializer_range=0.2, pad_token_id=0,
        bos_token_id=1, eos_token_id=2, tie_word_embeddings=False, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    model = GPT2LMHeadModel(config)
    with torch.no_grad():
        model.transformer.wte.weight[WORD] = HUGE
    model.save_pretrained(folder)
    write_tokenizer(folder)
    return folder


def nan_gradient(folder: Path) -> Path:
    """A Llama whose RMSNorm makes 0 of w63: its loss is finite, its gradient NaN."""
    return change(write_model(folder), "model.embed_tokens.weight", HUGE, row=WORD)


def change(folder: Path, name: str, value: float, row: int = 0) -> Path:
    """Put a value into a row of a stored tensor."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors[name][row] = value
    save_file(tensors, path, metadata={"format": "pt"})
    return folder


def one_bad(path: Path, bad: int | None = BAD, count: int = 31, seed: int = 0) -> Path:
    """Lists without w63, but for the prompt of one."""
    write_lists(path, count, seed)
    rows = [json.loads(line.replace(f"w{WORD}", "w62")) for line in path.read_text().splitlines()]
    if bad is not None:
        rows[bad]["instruction"] += f" w{WORD}"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
