"""SDPA in blocks for the CPU, where a mask saves no work: what cannot be seen is left out instead of masked.

A row of groups is mostly invisible to any one token. Here each response attends to its prompt and itself in a call of
its own, and a short group in one call for all of it. A block's part of the row's mask holds inside it, so windows stay.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from tuna.data.batch import PackedBatch

NAME = "tuna_blocks"
SHORT = 192  # tokens; below, a group's many small calls cost more than its masked pairs of tokens do

# (tokens of the segment, its prompt's segment or None, the mask of its tokens over [prompt, segment])
Block = tuple[int, int | None, Tensor]


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

    Args:
        module: the attention layer.
        query: [B, heads, S, D]; key and value likewise.
        attention_mask: as SDPA takes it.
        options: whatever the layer passes on.

    Returns:
        [B, S, heads, D], and no attention weights.
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


AttentionInterface.register(NAME, blocked_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)  # for generation and the plain way, which bring no blocks
