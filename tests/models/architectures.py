"""Tiny random models of the architectures that the scorer must be exact on, windows shorter than a group included."""

import copy
from typing import Any

import torch
import transformers as hf

VOCAB = 64
BASE: dict[str, Any] = {
    "vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "initializer_range": 0.3,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
MIXED = ["sliding_attention", "full_attention", "sliding_attention"]
WINDOW: dict[str, Any] = {"sliding_window": 5, "head_dim": 8}
OLD: dict[str, Any] = {"vocab_size": VOCAB, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}

CONFIGS: dict[str, hf.PretrainedConfig] = {
    "llama": hf.LlamaConfig(**BASE),
    "llama_tied": hf.LlamaConfig(**BASE, tie_word_embeddings=True),
    "qwen2_sliding": hf.Qwen2Config(**BASE, use_sliding_window=True, sliding_window=5, max_window_layers=1),
    "qwen3": hf.Qwen3Config(**BASE, head_dim=8),
    "mistral": hf.MistralConfig(**BASE, sliding_window=5),
    "gemma": hf.GemmaConfig(**BASE, head_dim=8),
    "gemma2": hf.Gemma2Config(**BASE, **WINDOW, query_pre_attn_scalar=8, final_logit_softcapping=3.0),
    "gemma3": hf.Gemma3TextConfig(**BASE, **WINDOW, query_pre_attn_scalar=8, layer_types=MIXED),
    "gpt2": hf.GPT2Config(
        vocab_size=VOCAB, n_embd=32, n_layer=3, n_head=4, n_positions=64, bos_token_id=1, eos_token_id=2,
        initializer_range=0.3,
    ),
    "opt": hf.OPTConfig(**OLD, ffn_dim=48, max_position_embeddings=64, word_embed_proj_dim=16, init_std=0.3),
    "gpt_neox": hf.GPTNeoXConfig(**OLD, intermediate_size=48, max_position_embeddings=64, initializer_range=0.3),
    "phi": hf.PhiConfig(**{**BASE, "num_key_value_heads": 4}),
    "cohere": hf.CohereConfig(**BASE, logit_scale=0.3),
    "granite": hf.GraniteConfig(**BASE, logits_scaling=3.0),
    "llama4_chunked": hf.Llama4TextConfig(
        **BASE, head_dim=8, attention_chunk_size=5, num_local_experts=2, intermediate_size_mlp=48
    ),
}  # fmt: skip

# Whose experts transformers stacks on load, and takes apart to save.
EXPERTS: dict[str, hf.PretrainedConfig] = {
    "mixtral": hf.MixtralConfig(**BASE, num_local_experts=4),
    "qwen3_moe": hf.Qwen3MoeConfig(
        **BASE, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16, decoder_sparse_step=1
    ),
}

# What sees no custom mask, or counts distances in columns.
UNFIT: dict[str, hf.PretrainedConfig] = {
    "bloom": hf.BloomConfig(vocab_size=VOCAB, hidden_size=32, n_layer=2, n_head=4),
    "mamba": hf.MambaConfig(vocab_size=VOCAB, hidden_size=32, num_hidden_layers=2, state_size=4),
    "gpt_neo_local": hf.GPTNeoConfig(
        vocab_size=VOCAB, hidden_size=32, num_layers=2, attention_types=[[["global", "local"], 1]], num_heads=4,
        window_size=5, max_position_embeddings=256,
    ),
}  # fmt: skip


def build(config: hf.PretrainedConfig, seed: int = 0) -> Any:
    """A float32 causal LM whose biases and norms are random too."""
    torch.manual_seed(seed)
    auto: Any = hf.AutoModelForCausalLM
    model = auto.from_config(copy.deepcopy(config))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return model.eval()
