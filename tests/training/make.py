"""A random two-layer Llama with a word-level tokenizer, random ranked lists, and a command that trains it at once."""

import json
import random
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tests.models.conftest import write_tokenizer


def write_model(folder: Path, **overrides: object) -> Path:
    torch.manual_seed(0)
    settings: dict[str, Any] = {
        "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 128, "initializer_range": 0.2, "pad_token_id": 0,
        "bos_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip
    LlamaForCausalLM(LlamaConfig(**{**settings, **overrides})).save_pretrained(folder)
    write_tokenizer(folder)
    return folder


def write_lists(path: Path, count: int = 40, seed: int = 0) -> Path:
    """``count`` ranked lists of two to five candidates with ties, logprobs too, so that every stage can read them."""
    rng = random.Random(seed)

    def words(low: int, high: int) -> str:
        return " ".join(f"w{rng.randint(4, 63)}" for _ in range(rng.randint(low, high)))

    with path.open("w") as file:
        for index in range(count):
            responses = [
                {"text": words(1, 6), "score": rng.randint(0, 3), "logprob": -20 * rng.random(), "num_tokens": 4}
                for _ in range(rng.randint(2, 5))
            ]
            row = {"id": str(index), "instruction": words(2, 6), "input": "", "output": words(2, 4)}
            file.write(json.dumps(row | {"responses": responses}) + "\n")
    return path


def overrides(model: Path, lists: Path, runs: Path, **changes: object) -> list[str]:
    """Command line of a run of 12 steps on one thread; ``changes`` use __ for the dot."""
    values: dict[str, object] = {
        "stage": "tuna_c", "model.path": model, "datamodule.path": lists, "datamodule.template": "none",
        "datamodule.max_length": 64, "datamodule.batch_size": 8, "datamodule.held_out": 9, "module.lr": 1e-3,
        "trainer.max_epochs": 3, "trainer.log_every": 1, "trainer.checkpoint_every": 3, "trainer.threads": 1,
        "model.export_dtype": "float32", "runs_dir": runs, "logger": "csv", "evaluate": "false",
        "datamodule.cache_dir": runs / "cache",
    }  # fmt: skip
    values |= {key.replace("__", "."): value for key, value in changes.items()}
    return [f"{key}={'null' if value is None else value}" for key, value in values.items()]
