"""Who may see whom in a packed row, for each layer type and attention implementation (docs/scorer.md).

Token i sees token j when both are of the same group, j does not come after i, j is in the prompt or in i's own
response, and the layer type's own rule holds. Windows and chunks count positions, not columns: in a packed row the two
differ. A padding token sees itself only, so that no row of the mask is empty (softmax over nothing is NaN).
"""

from collections.abc import Callable
from itertools import groupby
from operator import itemgetter
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


def _within(window: int | None) -> Rule | None:
    return None if window is None else lambda query, key: query - key < window


def _same_chunk(size: int) -> Rule:
    return lambda query, key: query // size == key // size


RULES: dict[str, Callable[[Any], Rule | None]] = {
    "full_attention": lambda config: None,
    "sliding_attention": lambda config: _within(getattr(config, "sliding_window", None)),
    "chunked_attention": lambda config: _same_chunk(config.attention_chunk_size),
}


def layer_rules(config: Any) -> dict[str, Rule | None]:
    """The rule of each layer type of a (text) config; ModelError for one without a mask (state spaces and others)."""
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

    SDPA would make floats of a boolean mask in every layer and keep them; eager attention would add it as 0 and 1.
    """
    seen = _visible(batch, rule)
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, torch.finfo(dtype).min)


def build_masks(batch: PackedBatch, config: object, implementation: str, dtype: torch.dtype) -> Mask | dict[str, Mask]:
    """The mask(s) of a batch as the model's backbone takes them: one, or by type where layers are of several types.

    config: the model's (text) config. implementation: "sdpa", "eager", "flex_attention" or "tuna_blocks".
    dtype: what the attention computes in, and of the masks [B, 1, S, S], which are 0 where seen and the lowest
    number elsewhere; "flex_attention" gets a BlockMask. Raises: ModelError for a layer type that takes no mask.
    """
    masks: dict[str, Mask] = {}
    rows, size = batch.group_ids.shape
    for kind, rule in layer_rules(config).items():
        if implementation == "flex_attention":
            masks[kind] = create_block_mask(_sees(batch, rule), rows, None, size, size, device=batch.group_ids.device)
        else:
            masks[kind] = mask = _additive(batch, rule, dtype)
            if implementation == BLOCKS and rows == 1:
                attach_blocks(mask, batch)
    return masks if len(masks) > 1 else next(iter(masks.values()))


def attach_blocks(mask: Tensor, batch: PackedBatch) -> None:
    """Cut the mask [1, 1, S, S] of a one-row batch into blocks; they become its attribute ``tuna_blocks``."""
    ids = torch.stack([batch.group_ids[0].long(), batch.response_ids[0].long()])
    (groups, _), counts = torch.unique_consecutive(ids, dim=1, return_counts=True)
    blocks: list[Block] = []
    start = 0
    for _, parts in groupby(zip(groups.tolist(), counts.tolist(), strict=True), key=itemgetter(0)):
        sizes = [size for _, size in parts]  # of the group's prompt and responses
        if sum(sizes) < SHORT:
            sizes = [sum(sizes)]
        prompt, number = slice(start, start + sizes[0]), len(blocks)
        for size in sizes:
            own = slice(start, start + size)
            if own == prompt:
                blocks.append((size, None, mask[..., own, own].contiguous()))
            else:
                blocks.append((size, number, torch.cat([mask[..., own, prompt], mask[..., own, own]], -1)))
            start += size
    mask.tuna_blocks = blocks  # type: ignore[attr-defined]


def blocked_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """Transformers' SDPA, block by block where the mask carries blocks; unchanged where it does not.

    query, key, value: [B, heads, S, D]. attention_mask: as SDPA takes it. Returns [B, S, heads, D], and no weights.
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
