"""Who may see whom in a packed row, for each layer type and attention implementation (docs/scorer.md).

A token is seen by itself and by what comes after it: a prompt's token to the end of its group, a response's (or a
prompt's that is not shared) to the end of that response, where the layer type's own rule holds too. Windows and chunks
count positions, not columns: in a packed row the two differ. A padding token is seen by itself only, so that no row of
the mask is empty (softmax over nothing is NaN).
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from tuna.data.batch import PackedBatch
from tuna.errors import ModelError

BLOCKS = "tuna_blocks"  # the name of attention in blocks among transformers' implementations
FLEX = "tuna_flex"  # FlexAttention, see tuna.models.attention
VARLEN = "tuna_varlen"  # FlashAttention over segments, for prompts that are not shared
BLOCK = 128  # columns of a block of FlexAttention's masks; its rows are multiples of it
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


def seen_until(batch: PackedBatch) -> Tensor:
    """[B, S] int32 ``until``: before the layer type's rule, column j is seen by the columns j <= i < until[j].

    >>> import numpy as np
    >>> from tuna.data.batch import Group
    >>> from tuna.data.packing import pack
    >>> two = (np.array([7], np.int32), np.array([8, 9], np.int32))
    >>> group = Group("a", np.array([5, 6], np.int32), two, (1.0, 0.0), (False, False))
    >>> seen_until(pack([group], row_tokens=8)), seen_until(pack([group], row_tokens=8, share=False))
    (tensor([[5, 5, 3, 5, 5]], dtype=torch.int32), tensor([[3, 3, 3, 7, 7, 7, 7]], dtype=torch.int32))
    """
    group, response = batch.group_ids, batch.response_ids
    size = group.shape[1]
    column = torch.arange(size, dtype=torch.int32, device=group.device)

    def ends(new: Tensor) -> Tensor:
        """Where the run that each column is in ends; ``new`` [B, S - 1]: a run begins after this column."""
        after = torch.where(new, column[1:], size)
        last = after.new_full((len(after), 1), size)
        return torch.cat([after, last], 1).flip(1).cummin(1).values.flip(1)

    groups = group[:, 1:] != group[:, :-1]
    parts = groups | (response[:, 1:] != response[:, :-1])
    until = torch.where(response == 0, ends(groups), ends(parts))
    return torch.where(group < 0, column + 1, until)


def _sees(until: Tensor, position: Tensor, rule: Rule | None) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """(row, head, query column, key column) -> may see, as FlexAttention takes it."""

    def sees(b: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (query >= key) & (query < until[b, key])

    def sees_by_rule(b: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        assert rule is not None
        return sees(b, head, query, key) & rule(position[b, query], position[b, key])

    return sees if rule is None else sees_by_rule


def _visible(batch: PackedBatch, rule: Rule | None) -> Tensor:
    """Boolean [B, 1, S, S]: query (third axis) may see key (last axis)."""
    rows, size = batch.group_ids.shape
    row = torch.arange(rows, device=batch.group_ids.device)[:, None, None, None]
    column = torch.arange(size, device=batch.group_ids.device)
    return _sees(seen_until(batch), batch.position_ids, rule)(row, row, column[:, None], column)


def block_mask(batch: PackedBatch, rule: Rule | None) -> BlockMask:
    """FlexAttention's mask of a batch whose rows are multiples of 128, from what is known of each block of 128 columns.

    ``create_block_mask`` would look at all S x S pairs (or, compiled, be compiled for every new shape). Here a block is
    left out where no query of it is before the latest ``until`` of its keys, and is whole (its pairs are not looked at)
    where all are before the earliest; both are exact but for a rule, which can only turn a whole block into a partial.
    """
    rows, size = batch.group_ids.shape
    if size % BLOCK:
        raise ValueError(f"block_mask: expected rows of a multiple of {BLOCK} columns, got {size}")
    count, until, position = size // BLOCK, seen_until(batch), batch.position_ids
    ends = until.view(rows, 1, count, BLOCK)  # of the keys, the third axis
    number = torch.arange(count, device=until.device)
    first = number[:, None] * BLOCK  # column of each query block, the second axis
    earlier = number < number[:, None]
    some = (earlier & (ends.amax(-1) > first)) | (number == number[:, None])
    whole = earlier & (ends.amin(-1) >= first + BLOCK)
    if rule is not None:  # windows and chunks hold for all pairs where they hold for the two farthest positions
        high, low = (extreme(position.view(rows, count, BLOCK), -1) for extreme in (torch.amax, torch.amin))
        farthest = torch.maximum(high[:, :, None], high[:, None]), torch.minimum(low[:, :, None], low[:, None])
        whole = whole & rule(*farthest)
    partly, wholly = _listed((some & ~whole)[:, None]), _listed(whole[:, None])
    sees, lengths = _sees(until, position, rule), (size, size)
    return BlockMask.from_kv_blocks(*partly, *wholly, BLOCK_SIZE=BLOCK, mask_mod=sees, seq_lengths=lengths)


def _listed(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """How many key blocks each query block has, and their numbers first in its row."""
    order = blocks.int().argsort(dim=-1, descending=True, stable=True)
    return blocks.sum(-1, dtype=torch.int32), order.int()


@dataclass(frozen=True, slots=True)
class Segments:
    """Where segments begin in the B x S columns, [N + 1] int32; the longest of them; the window of the layers."""

    starts: Tensor
    longest: int
    window: int | None


def _segments(batch: PackedBatch, window: int | None) -> Tensor:
    """A mask in name only, whose attribute ``tuna_segments`` says it all; int8, which FSDP's casting leaves alone."""
    if batch.shared or batch.segments is None:
        raise ValueError("segments: expected a batch that was packed with share=False")
    mask = torch.zeros(1, 1, 1, 1, dtype=torch.int8, device=batch.input_ids.device)
    mask.tuna_segments = Segments(batch.segments, batch.longest_segment, window)  # type: ignore[attr-defined]
    return mask


def _additive(batch: PackedBatch, rule: Rule | None, dtype: torch.dtype) -> Tensor:
    """[B, 1, S, S], 0 where seen and the lowest finite number elsewhere, for eager attention and SDPA.

    SDPA would make floats of a boolean mask in every layer and keep them; eager attention would add it as 0 and 1.
    """
    seen = _visible(batch, rule)
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, torch.finfo(dtype).min)


def build_masks(batch: PackedBatch, config: object, implementation: str, dtype: torch.dtype) -> Mask | dict[str, Mask]:
    """The mask(s) of a batch as the model's backbone takes them: one, or by type where layers are of several types.

    config: the model's (text) config. implementation: "sdpa", "eager", "tuna_blocks", "tuna_flex" or "tuna_varlen".
    dtype: what the attention computes in, and of the masks [B, 1, S, S], which are 0 where seen and the lowest
    number elsewhere; "tuna_flex" gets a BlockMask. Raises: ModelError for a layer type that takes no mask.
    """
    masks: dict[str, Mask] = {}
    for kind, rule in layer_rules(config).items():
        if implementation == FLEX:
            masks[kind] = block_mask(batch, rule)
        elif implementation == VARLEN:
            masks[kind] = _segments(batch, getattr(config, "sliding_window", None) if rule else None)
        else:
            masks[kind] = mask = _additive(batch, rule, dtype)
            if implementation == BLOCKS and len(mask) == 1:
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
