"""QLoRA: frozen linear layers in four bits, by bitsandbytes (Dettmers et al., arXiv 2305.14314)."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import BitsAndBytesConfig
from transformers.utils.import_utils import is_accelerate_available, is_bitsandbytes_available

from tuna.errors import ConfigError
from tuna.models.lora import Fetch
from tuna.models.source import ModelConfig

EXTRA = "pip install 'tuna-ranking[bitsandbytes]'"
# Of a number: four bits, and per 64 of them a scale in 8 bits, which is scaled per 256.
BYTES = 0.5 + (1 + 4 / 256) / 64


def check_quantize(model: ModelConfig, *, sharded: bool) -> None:
    """Refuse (ConfigError), before weights load, what cannot be quantized here. sharded: over several processes."""
    if sharded:
        raise ConfigError(
            "model.quantize: 4-bit weights are not sharded; next: trainer=gpu, or leave model.quantize out"
        )
    there = {"bitsandbytes": is_bitsandbytes_available(), "accelerate": is_accelerate_available()}
    if lacking := [name for name, found in there.items() if not found]:
        raise ConfigError(
            f"model.quantize: needs {' and '.join(lacking)}, not installed here or too old for transformers; "
            f"next: {EXTRA}, or leave model.quantize out"
        )
    if getattr(model.resolve().config, "quantization_config", None) is not None:
        raise ConfigError(f"model.quantize: {model.path} is quantized already; next: leave model.quantize out")


def nf4() -> BitsAndBytesConfig:
    """What transformers takes; the head, embeddings and norms are left as they are."""
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )  # fmt: skip


def compute_in_half(model: Any) -> None:
    """Have 4-bit layers compute in bfloat16, as QLoRA does."""
    for module in _layers(model).values():
        module.compute_dtype = module.weight.quant_state.dtype = torch.bfloat16


def dequantized(model: Any, state: Mapping[str, Fetch]) -> dict[str, Fetch]:
    """The state dict of ``model`` with the numbers that its 4-bit layers stand for, without how they are kept."""
    plain = dict(state)
    for name, module in _layers(model).items():
        plain = {key: fetch for key, fetch in plain.items() if not key.startswith(f"{name}.weight.")}
        plain[f"{name}.weight"] = partial(_values, module.weight)
    return plain


def _values(weight: Any) -> Tensor:
    from bitsandbytes.functional import dequantize_4bit

    found: Tensor = dequantize_4bit(weight.data, weight.quant_state)
    return found.cpu()


def _layers(model: Any) -> dict[str, Any]:
    """The 4-bit layers by name."""
    if not getattr(model, "is_loaded_in_4bit", False):
        return {}
    from bitsandbytes.nn import Linear4bit

    return {name: module for name, module in model.named_modules() if isinstance(module, Linear4bit)}
