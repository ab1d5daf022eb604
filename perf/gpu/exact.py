"""Packed rows against plain rows on this device: families, layouts, precisions; reward models, LoRA, checkpointing."""

from collections.abc import Iterator
from typing import Any

import torch
import transformers as hf
from torch import Tensor

from perf.gpu.base import Row, Scorer, Setting, lists_of, loss_of
from tuna.data.batch import PackedBatch
from tuna.data.packing import pack
from tuna.models.lora import Lora, add_lora
from tuna.models.scorer import PlainRewardScorer, PlainScorer, ResponseScorer, RewardScorer

VOCAB = 512
ROUNDING = 2.0  # in bf16 the packed way may be so many times as far from float32 as the plain way is, and a little
FLOAT32 = (1e-4, 1e-3)  # relative, of log-probabilities and of the gradient: another kernel sums in another order


def families(setting: Setting) -> dict[str, Any]:
    """Small configs that share heads, so that a kernel compiled for one serves the next; windows below a group."""
    base: dict[str, Any] = {
        "vocab_size": VOCAB, "hidden_size": setting.pick(256, 32), "intermediate_size": setting.pick(512, 48),
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 4096,
        "initializer_range": 0.1, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip
    window: dict[str, Any] = {"sliding_window": setting.pick(160, 6), "head_dim": setting.pick(64, 8)}
    mixed = ["sliding_attention", "full_attention"]
    size = {"query_pre_attn_scalar": window["head_dim"]}
    return {
        "Llama": hf.LlamaConfig(**base),
        "Qwen 3": hf.Qwen3Config(**base, head_dim=window["head_dim"]),
        "Mistral, a window": hf.MistralConfig(**base, **window),
        "Gemma 2, soft-capped": hf.Gemma2Config(**base, **window, **size, layer_types=mixed),
        "Gemma 3, two kinds of layers": hf.Gemma3TextConfig(**base, **window, **size, layer_types=mixed),
        "Phi-3": hf.Phi3Config(**base),
        "GPT-NeoX": hf.GPTNeoXConfig(**{k: v for k, v in base.items() if k != "num_key_value_heads"}),
        "Llama, heads of 80": hf.LlamaConfig(**base | {"hidden_size": 320, "head_dim": 80}),
    }


def batches(setting: Setting) -> dict[str, PackedBatch]:
    """The same lists with shared prompts and without, in rows that are long enough for FlexAttention."""
    prompt, response, row = setting.pick((190, 150, 2600), (9, 7, 90))
    groups = lists_of(setting.pick(6, 3), 4, prompt, response, VOCAB, spread=0.4)
    return {
        name: pack(groups, row_tokens=row, share=name == "shared").to(setting.device) for name in ("shared", "unshared")
    }


def numbers(
    setting: Setting, model: Any, scorer: Scorer, batch: PackedBatch, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Log-probabilities (or rewards) [R], and all gradients in one tensor."""
    model.zero_grad(set_to_none=True)
    with setting.autocast(dtype):
        loss, values = loss_of(scorer, batch)
    loss.backward()
    gradients = [p.grad.float().flatten() for p in model.parameters() if p.grad is not None]
    return values.detach(), torch.cat(gradients)


def apart(one: Tensor, other: Tensor) -> float:
    """The norm of the difference, of the norm."""
    return float((one - other).norm() / other.norm())


def compared(setting: Setting, model: Any, packed: ResponseScorer, plain: Scorer, what: str) -> Iterator[Row]:
    """Rows of one model: each layout in each precision."""
    for layout, batch in batches(setting).items():
        exact = numbers(setting, model, plain, batch, torch.float32)
        for dtype in (torch.float32, torch.bfloat16):
            got = numbers(setting, model, packed, batch, dtype)
            off = [apart(one, other) for one, other in zip(got, exact, strict=True)]
            allowed = list(FLOAT32)
            if dtype == torch.bfloat16:
                rounded = numbers(setting, model, plain, batch, dtype)
                allowed = [ROUNDING * apart(a, b) + 1e-3 for a, b in zip(rounded, exact, strict=True)]
            with setting.autocast(dtype):
                kernel = packed.kernel(batch)
            yield {
                "what": what, "layout": layout, "dtype": str(dtype).removeprefix("torch."), "kernel": kernel,
                "logprobs_off": off[0], "gradient_off": off[1], "allowed": allowed, "refused": sorted(packed.refused),
                "target": "exact", "reached": off[0] <= allowed[0] and off[1] <= allowed[1] and not packed.refused,
            }  # fmt: skip


def exact(setting: Setting) -> Iterator[Row]:
    """Every family."""
    torch.manual_seed(0)
    for name, config in families(setting).items():
        if not setting.left():
            yield {"what": name, "status": "no time was left"}
            continue
        made: Any = hf.AutoModelForCausalLM.from_config(config)
        model = made.to(setting.device).train()
        yield from compared(setting, model, ResponseScorer(model), PlainScorer(model), name)


def kinds(setting: Setting) -> Iterator[Row]:
    """A reward model, LoRA and gradient checkpointing, on Llama."""
    config = families(setting)["Llama"]
    torch.manual_seed(0)
    reward: Any = hf.LlamaForSequenceClassification(hf.LlamaConfig(**config.to_dict() | {"num_labels": 1}))
    reward.to(setting.device)
    yield from compared(setting, reward, RewardScorer(reward), PlainRewardScorer(reward), "reward model")
    for what in ("LoRA", "gradient checkpointing"):
        model: Any = hf.LlamaForCausalLM(config)
        if what == "LoRA":
            add_lora(model, Lora(r=4))
            for name, parameter in model.named_parameters():
                if "lora_B" in name:
                    torch.nn.init.normal_(parameter, 0.0, 0.05)  # zero at first, and then its A has no gradient
        model.to(setting.device).train()
        plain = PlainScorer(model)
        if what == "gradient checkpointing":
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        yield from compared(setting, model, ResponseScorer(model), plain, what)
