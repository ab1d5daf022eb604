"""Who may see whom in a packed row, for each layer type and attention implementation.

Token i sees token j when both belong to the same group, j does not come after i, j is in the prompt or in i's own
response, and the layer type's own rule holds. Windows and chunks count positions, not columns: in a packed row the two
differ. A padding token sees itself only, so that no row of the mask is empty (softmax over nothing is NaN).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask

from tuna.data.batch import PackedBatch
from tuna.errors import ModelError
from tuna.models.blocks import NAME, attach_blocks

Mask = Tensor | BlockMask
Rule = Callable[[Tensor, Tensor], Tensor]  # (query position, key position) -> may see


def _full(config: Any) -> Rule | None:
    return None


def _sliding(config: Any) -> Rule | None:
    window = getattr(config, "sliding_window", None)
    return None if window is None else lambda query, key: query - key < window


def _chunked(config: Any) -> Rule | None:
    chunk = config.attention_chunk_size
    return lambda query, key: query // chunk == key // chunk


RULES: dict[str, Callable[[Any], Rule | None]] = {
    "full_attention": _full,
    "sliding_attention": _sliding,
    "chunked_attention": _chunked,
}


def layer_rules(config: Any) -> dict[str, Rule | None]:
    """The rule of each attention layer type that a model of this (text) config has, by transformers' name of the type.

    Raises:
        ModelError: a layer is of a type that is no attention with a mask (state spaces, convolutions, ...).
    """
    types = getattr(config, "layer_types", None)
    if not types:  # no list of types: one mask serves all layers, a window where the config has one
        types = ["full_attention" if getattr(config, "sliding_window", None) is None else "sliding_attention"]
    unknown = sorted(set(types) - set(RULES))
    if unknown:
        raise ModelError(
            f"{config.model_type}: layers of type {', '.join(unknown)} take no custom attention mask, so responses "
            "cannot share a packed row; use model.scorer=plain"
        )
    return {kind: RULES[kind](config) for kind in dict.fromkeys(types)}


def _visible(batch: PackedBatch, rule: Rule | None) -> Tensor:
    """Boolean [B, 1, S, S]: query (third axis) may see key (last axis)."""
    group, response, position = batch.group_ids, batch.response_ids, batch.position_ids
    size = group.shape[1]
    column = torch.arange(size, device=group.device)
    seen = (group[:, :, None] == group[:, None, :]) & (group[:, None, :] >= 0)
    seen &= column[:, None] >= column
    seen &= (response[:, None, :] == 0) | (response[:, :, None] == response[:, None, :])
    if rule is not None:
        seen &= rule(position[:, :, None], position[:, None, :])
    seen |= torch.eye(size, dtype=torch.bool, device=group.device)
    return seen[:, None]


def _additive(batch: PackedBatch, rule: Rule | None, dtype: torch.dtype) -> Tensor:
    """[B, 1, S, S], 0 where seen and the lowest finite number elsewhere, for eager attention and SDPA.

    SDPA would take a boolean mask, but makes a float one of it in every layer and keeps each for the backward pass;
    eager attention would add a boolean one as 0 and 1.
    """
    seen = _visible(batch, rule)
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, torch.finfo(dtype).min)


def _block(batch: PackedBatch, rule: Rule | None) -> BlockMask:
    """FlexAttention's sparse block mask of the same visibility."""
    group, response, position = batch.group_ids, batch.response_ids, batch.position_ids

    def visible(b: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        same = (group[b, query] == group[b, key]) & (group[b, key] >= 0) & (query >= key)
        same = same & ((response[b, key] == 0) | (response[b, key] == response[b, query]))
        if rule is not None:
            same = same & rule(position[b, query], position[b, key])
        return same | (query == key)

    rows, size = group.shape
    return create_block_mask(visible, rows, None, size, size, device=group.device)


def build_masks(batch: PackedBatch, config: Any, implementation: str, dtype: torch.dtype) -> Mask | dict[str, Mask]:
    """The mask(s) of a batch as the model's backbone takes them.

    Args:
        batch: B rows of S tokens.
        config: the (text) config of the model; its ``layer_types``, ``sliding_window``, ``attention_chunk_size``.
        implementation: "sdpa", "eager", "flex_attention" or "tuna_blocks".
        dtype: what the attention computes in (the float masks must have it).

    Returns:
        One mask where all layers are of one type, else a dict of masks by layer type.

    Raises:
        ModelError: a layer type that takes no mask.
    """
    masks: dict[str, Mask] = {}
    for kind, rule in layer_rules(config).items():
        if implementation == "flex_attention":
            masks[kind] = _block(batch, rule)
            continue
        masks[kind] = mask = _additive(batch, rule, dtype)
        if implementation == NAME and len(batch.input_ids) == 1:
            attach_blocks(mask, batch)
    return masks if len(masks) > 1 else next(iter(masks.values()))
