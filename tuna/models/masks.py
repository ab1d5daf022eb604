"""Who may see whom in a packed row, for each layer type and attention implementation.

Token i sees token j when both belong to the same group, j does not come after i, j is in the prompt or in i's own
response, and the layer type's own rule holds. Windows and chunks count positions, not columns: in a packed row the two
differ. A padding token sees itself only, so that no row of the mask is empty (softmax over nothing is NaN).

On the CPU a mask saves SDPA no work, and a row of groups is mostly invisible to any one token. There attention runs in
blocks: each response attends to its prompt and itself in a call of its own, and a short group in one call for all of
it. A block's part of the row's mask holds inside it, so windows stay.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from tuna.data.batch import PackedBatch
from tuna.errors import ModelError

BLOCKS = "tuna_blocks"  # the name of attention in blocks among transformers' implementations
SHORT = 192  # tokens; below, a group's many small calls cost more than its masked pairs of tokens do

Mask = Tensor | BlockMask
Rule = Callable[[Tensor, Tensor], Tensor]  # (query position, key position) -> may see
Block = tuple[int, int | None, Tensor]  # (tokens of the part, its prompt's part or None, its mask over [prompt, part])


def _sliding(config: Any) -> Rule | None:
    window = getattr(config, "sliding_window", None)
    return None if window is None else lambda query, key: query - key < window


def _chunked(config: Any) -> Rule | None:
    chunk = config.attention_chunk_size
    return lambda query, key: query // chunk == key // chunk


RULES: dict[str, Callable[[Any], Rule | None]] = {
    "full_attention": lambda config: None,
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


def _sees(batch: PackedBatch, rule: Rule | None) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """(row, head, query column, key column) -> may see, as FlexAttention takes it."""
    group, response, position = batch.group_ids, batch.response_ids, batch.position_ids

    def sees(b: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        same = (group[b, query] == group[b, key]) & (group[b, key] >= 0) & (query >= key)
        same = same & ((response[b, key] == 0) | (response[b, key] == response[b, query]))
        if rule is not None:
            same = same & rule(position[b, query], position[b, key])
        return same | (query == key)

    return sees


def _visible(batch: PackedBatch, rule: Rule | None) -> Tensor:
    """Boolean [B, 1, S, S]: query (third axis) may see key (last axis)."""
    rows, size = batch.group_ids.shape
    row = torch.arange(rows, device=batch.group_ids.device)[:, None, None, None]
    column = torch.arange(size, device=batch.group_ids.device)
    return _sees(batch, rule)(row, row, column[:, None], column)


def _additive(batch: PackedBatch, rule: Rule | None, dtype: torch.dtype) -> Tensor:
    """[B, 1, S, S], 0 where seen and the lowest finite number elsewhere, for eager attention and SDPA.

    SDPA would take a boolean mask, but makes a float one of it in every layer and keeps each for the backward pass;
    eager attention would add a boolean one as 0 and 1.
    """
    seen = _visible(batch, rule)
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, torch.finfo(dtype).min)


def build_masks(batch: PackedBatch, config: Any, implementation: str, dtype: torch.dtype) -> Mask | dict[str, Mask]:
    """The mask(s) of a batch as the model's backbone takes them: one, or by type where layers are of several types.

    Args:
        batch: B rows of S tokens.
        config: the (text) config of the model; its ``layer_types``, ``sliding_window``, ``attention_chunk_size``.
        implementation: "sdpa", "eager", "flex_attention" or "tuna_blocks".
        dtype: what the attention computes in (the float masks must have it).

    Raises:
        ModelError: a layer type that takes no mask.
    """
    masks: dict[str, Mask] = {}
    for kind, rule in layer_rules(config).items():
        if implementation == "flex_attention":
            rows, size = batch.group_ids.shape
            masks[kind] = create_block_mask(_sees(batch, rule), rows, None, size, size, device=batch.group_ids.device)
            continue
        masks[kind] = mask = _additive(batch, rule, dtype)
        if implementation == BLOCKS and len(batch.input_ids) == 1:
            attach_blocks(mask, batch)
    return masks if len(masks) > 1 else next(iter(masks.values()))


def attach_blocks(mask: Tensor, batch: PackedBatch) -> None:
    """Cut the mask [1, 1, S, S] of a batch of one row into blocks, and hang them on it for the attention to find."""
    group, response = batch.group_ids[0].long(), batch.response_ids[0].long()
    _, counts = torch.unique_consecutive(torch.stack([group, response]), dim=1, return_counts=True)
    _, spans = torch.unique_consecutive(group, return_counts=True)
    blocks: list[Block] = []
    start, parts = 0, counts.tolist()
    for span in spans.tolist():
        own: list[int] = []
        while sum(own) < span:
            own.append(parts.pop(0))
        blocks += _of_group(mask, start, own, len(blocks))
        start += span
    mask.tuna_blocks = blocks  # type: ignore[attr-defined]


def _of_group(mask: Tensor, start: int, parts: list[int], number: int) -> list[Block]:
    """The blocks of the group whose prompt and responses have ``parts`` tokens, from column ``start`` on."""
    if sum(parts) < SHORT or len(parts) == 1:
        end = start + sum(parts)
        return [(sum(parts), None, mask[..., start:end, start:end].contiguous())]
    prompt, blocks = slice(start, start + parts[0]), list[Block]()
    for size in parts:
        own = slice(start, start + size)
        if not blocks:
            blocks.append((size, None, mask[..., own, own].contiguous()))
        else:
            blocks.append((size, number, torch.cat([mask[..., own, prompt], mask[..., own, own]], -1)))
        start += size
    return blocks


def blocked_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """Transformers' SDPA, block by block where the mask carries blocks; as ever where it does not.

    query, key, value: [B, heads, S, D]. Returns [B, S, heads, D], and no attention weights.
    """
    blocks: list[Block] | None = getattr(attention_mask, "tuna_blocks", None)
    if blocks is None or options.get("position_bias") is not None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    sizes = [size for size, _, _ in blocks]
    queries, keys, values = (torch.split(tensor, sizes, dim=2) for tensor in (query, key, value))
    outputs = []
    for number, (_, prompt, mask) in enumerate(blocks):
        seen, read = keys[number], values[number]
        if prompt is not None:
            seen, read = torch.cat([keys[prompt], seen], 2), torch.cat([values[prompt], read], 2)
        outputs.append(sdpa_attention_forward(module, queries[number], seen, read, mask, **options)[0])
    return torch.cat(outputs, 1), None


AttentionInterface.register(BLOCKS, blocked_attention)
AttentionMaskInterface.register(BLOCKS, sdpa_mask)  # for generation and the plain way, which bring no blocks
