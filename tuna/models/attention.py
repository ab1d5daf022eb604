"""Which attention a batch takes, and those of them that transformers does not have as we need them (docs/scorer.md)."""

from collections.abc import Callable, Container
from functools import cache
from inspect import signature
from typing import Any, Literal

import torch
import torch.fx.experimental._config as shapes
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.flex_attention import flex_attention_forward
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from tuna.errors import ModelError
from tuna.models.masks import BLOCK, BLOCKS, FLEX, VARLEN, Segments, layer_rules

Attention = Literal["auto", "sdpa", "eager", "flex"]
FLEX_FROM = (
    1024  # columns of a row; below, one masked SDPA call is faster (0.72x at 512, 1.31x at 2048: KempnerForge#207)
)
RECOMPILES = 64  # a mask rule, number of heads, dtype, one row or more: each is one; row lengths are not
HALF = (torch.bfloat16, torch.float16)
VARLEN_FITS = {"window_size", "enable_gqa"} <= signature(varlen_attn).parameters.keys()  # not all of torch 2.11 to 2.13


def row_length(columns: int) -> int:
    """The columns that a row of so many is padded to for FlexAttention: a multiple of 128, eight lengths per doubling.

    >>> [row_length(n) for n in (1, 1024, 1025, 2049, 5000)]
    [128, 1024, 1152, 2304, 5120]
    """
    step = max(BLOCK, 1 << max(0, (columns - 1).bit_length() - 4))
    return -(-columns // step) * step


def choose(
    wanted: Attention,
    model: Any,
    *,
    device: str,
    dtype: torch.dtype,
    columns: int,
    shared: bool = True,
    refused: Container[str] = (),
) -> str:
    """The name, among transformers' attention functions, of the one that a batch takes.

    wanted: ``model.attention``. model: its config and what it supports are read. device: "cpu" or "cuda". dtype: what
    attention computes in. columns: of a row. shared: see PackedBatch. refused: what a check found to be wrong here.
    """
    config = model.config.get_text_config()
    if wanted == "flex" or wanted == "eager":
        return FLEX if wanted == "flex" else "eager"
    masked = "sdpa" if wanted == "sdpa" or model._supports_sdpa else "eager"
    if device == "cpu":  # FlexAttention's CPU kernel has no backward pass
        return BLOCKS if masked == "sdpa" else masked
    dropout = any(getattr(config, key, 0.0) for key in ("attention_dropout", "attn_pdrop", "attn_dropout"))
    if wanted == "sdpa" or dropout:
        return masked
    windows = layer_rules(config).keys() <= {"full_attention", "sliding_attention"}
    # A model that SDPA cannot serve has soft-capped scores or sinks, which FlashAttention does not know either.
    fits = VARLEN_FITS and dtype in HALF and head_size(config) <= 256 and head_size(config) % 8 == 0
    if not shared and model._supports_sdpa and windows and fits and VARLEN not in refused:
        return VARLEN
    if model._supports_flex_attn and FLEX not in refused and (columns >= FLEX_FROM or masked == "eager"):
        return FLEX
    return masked


def head_size(config: Any) -> int:
    """Numbers per head of queries and keys, of a (text) config."""
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def flex_options(dtype: torch.dtype, head_dim: int) -> dict[str, int]:
    """Block sizes for FlexAttention's kernels where torch's own tables have none.

    These know the powers of two. Another head is computed as the next power, and the blocks that torch then falls back
    to ask for more shared memory than a card has (pytorch#180278, #198224); these fit 99 KiB. ROWS_GUARANTEED_SAFE must
    stay off: a query may see no key of a block, here even of its first.
    """
    rounded = 1 << (head_dim - 1).bit_length()
    if rounded == head_dim:
        return {}
    if dtype not in HALF:
        return {"fwd_BLOCK_M": 32, "fwd_BLOCK_N": 32 if rounded <= 128 else 16, "fwd_num_stages": 2}
    if rounded <= 128:
        sizes, stages = {"fwd_BLOCK_M": 64, "fwd_BLOCK_N": 64}, 2
        backward = 64
    else:
        sizes, stages = {"fwd_BLOCK_M": 64, "fwd_BLOCK_N": 32}, 1
        backward = 32
    edges = {f"bwd_BLOCK_{name}": backward for name in ("M1", "N1", "M2", "N2")}
    return sizes | edges | {"fwd_num_stages": stages, "bwd_num_stages": 1}


@cache
def compiled_flex() -> Callable[..., Tensor]:
    """FlexAttention, compiled once per process for rows of any length.

    fullgraph: at the limit of compilations it raises, where without it the uncompiled function would make the whole
    S x S matrix of scores, which only a warning tells of (vllm#27178). Without duck shapes, since two sizes that happen
    to be equal at first (8 rows, 8 heads) would otherwise be taken for one, and compiled anew when they part.
    """
    settings: Any = torch._dynamo.config
    settings.recompile_limit = max(settings.recompile_limit, RECOMPILES)
    compiled: Any = torch.compile(flex_attention, dynamic=True, fullgraph=True)

    def call(*tensors: Tensor, **options: Any) -> Tensor:
        with shapes.patch(use_duck_shape=False):  # type: ignore[attr-defined]
            output: Tensor = compiled(*tensors, **options)
            return output

    return call


def flex(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: BlockMask | Tensor | None,
    scaling: float | None = None,
    softcap: float | None = None,
    **options: Any,
) -> tuple[Tensor, Tensor | None]:
    """FlexAttention for a BlockMask, transformers' SDPA for other masks (generation, the plain way).

    query, key, value: [B, heads, S, D]. Returns [B, S, heads, D], and no weights. transformers' own function compiles
    anew whenever training turns to evaluation or back, and for each row length. Raises: ModelError at the limit of
    compilations.
    """
    if not isinstance(attention_mask, BlockMask):
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, softcap=softcap, **options
        )
    if any(options.get(name) is not None for name in ("s_aux", "position_bias")):  # sinks, biases: as transformers does
        found: tuple[Tensor, Tensor | None] = flex_attention_forward(
            module, query, key, value, attention_mask, scaling, softcap, **options
        )
        return found

    def capped(score: Tensor, *_: Tensor) -> Tensor:
        assert softcap is not None
        return softcap * torch.tanh(score / softcap)

    try:
        output = compiled_flex()(
            query, key, value, score_mod=None if softcap is None else capped, block_mask=attention_mask, scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1], kernel_options=flex_options(query.dtype, query.shape[-1]),
        )  # fmt: skip
    except torch._dynamo.exc.FailOnRecompileLimitHit as error:
        raise ModelError(
            f"FlexAttention was compiled {RECOMPILES} times in this process, which its shapes do not explain; it stops "
            "here, since it would go on uncompiled with all S x S scores in memory; next: model.attention=sdpa"
        ) from error
    return output.transpose(1, 2).contiguous(), None


def varlen(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """FlashAttention over the segments that the mask carries, transformers' SDPA for a mask that carries none.

    query, key, value: [B, heads, S, D]. Returns [B, S, heads, D], and no weights. Raises: ModelError where a model has
    not handed the mask on as it was, or wants more of the scores than FlashAttention does.
    """
    segments: Segments | None = getattr(attention_mask, "tuna_segments", None)
    if segments is None and (attention_mask is None or attention_mask.dtype != torch.int8):
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    if segments is None or any(options.get(name) is not None for name in ("softcap", "s_aux", "position_bias")):
        raise ModelError(
            f"{type(module).__name__} takes no unshared prompts by FlashAttention; next: datamodule.share_prefix=true"
        )
    rows, _, columns, _ = query.shape
    window = (-1, 0) if segments.window is None else (segments.window - 1, 0)
    query, key, value = (tensor.transpose(1, 2).flatten(0, 1) for tensor in (query, key, value))
    output: Any = varlen_attn(
        query, key, value, segments.starts, segments.starts, segments.longest, segments.longest,
        scale=options.get("scaling"), window_size=window, enable_gqa=query.shape[1] != key.shape[1],
    )  # fmt: skip
    return output.unflatten(0, (rows, columns)), None


AttentionInterface.register(FLEX, flex)
AttentionInterface.register(VARLEN, varlen)
for _name in (FLEX, VARLEN):
    AttentionMaskInterface.register(_name, sdpa_mask)
