"""Packing: several groups into one row, prompt once, the responses after it (see docs/scorer.md)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from heapq import heapreplace
from typing import Any, Literal

import numpy as np
import torch
from torch.nn.functional import pad as pad_tensor

from tuna.data.batch import Group, PackedBatch, Totals

SHARING_PAYS = 1.3  # token ratio from which a GPU is faster with shared prompts, by Unsloth's measurements


def assign_rows(lengths: Sequence[int], row_tokens: int) -> list[list[int]]:
    """Share out groups over rows so that ``rows x longest row`` is as small as two heuristics get it.

    A row holds at most ``max(row_tokens, longest group)`` tokens and no group is split. First-fit-decreasing finds how
    few rows are enough; spreading the groups evenly over that many rows, or a few more, shortens the longest row and
    so the padding. Fewer rows win a draw. Returns: the indices of the groups of each row, the same for the same input.

    >>> assign_rows([3, 5, 2, 4], row_tokens=7)
    [[1, 2], [3, 0]]
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    capacity = max(row_tokens, max(lengths))
    best = _first_fit(order, lengths, capacity)
    fewest, width = len(best), _width(best, lengths)
    for count in range(fewest, min(len(order), 2 * fewest + 2) + 1):
        rows = _spread(order, lengths, count)
        longest = _width(rows, lengths)
        if count * longest < len(best) * width:  # so the longest is at most the capacity, too
            best, width = rows, longest
    return best


def _width(rows: list[list[int]], lengths: Sequence[int]) -> int:
    return max(sum(lengths[i] for i in row) for row in rows)


def _first_fit(order: list[int], lengths: Sequence[int], capacity: int) -> list[list[int]]:
    rows: list[list[int]] = []
    room: list[int] = []
    for i in order:
        r = next((r for r, left in enumerate(room) if left >= lengths[i]), len(rows))
        if r == len(rows):
            rows.append([])
            room.append(capacity)
        rows[r].append(i)
        room[r] -= lengths[i]
    return rows


def _spread(order: list[int], lengths: Sequence[int], count: int) -> list[list[int]]:
    """Longest first, each to the row that is shortest so far."""
    rows: list[list[int]] = [[] for _ in range(count)]
    heap = [(0, r) for r in range(count)]  # sorted, so a heap already
    for i in order:
        used, row = heap[0]
        rows[row].append(i)
        heapreplace(heap, (used + lengths[i], row))
    return rows


def count_totals(groups: Sequence[Group]) -> Totals:
    """What the sums of one optimizer step are divided by, when ``groups`` are the real groups of that step."""
    targets = sum(sum(group.targets) for group in groups)
    tokens = sum(n for group in groups for n, s in zip(group.lengths, group.scores, strict=True) if s == s)
    return Totals(float(len(groups)), float(targets), float(tokens))


def token_ratio(groups: Sequence[Group]) -> float:
    """How many times as many tokens the groups have when each response brings its prompt: K(P + R) / (P + K R).

    >>> ids = np.zeros(4, np.int32)
    >>> token_ratio([Group("a", ids, (ids, ids), (1.0, 0.0), (False, False))])  # 16 tokens against 12
    1.3333333333333333
    """
    return sum(group.tokens(False) for group in groups) / sum(group.tokens(True) for group in groups)


@dataclass(frozen=True, slots=True)
class Sharing:
    """Whether a batch has each prompt once, or one before each response.

    wanted: ``datamodule.share_prefix``. On the CPU fewer tokens are always faster; on a GPU only where they are much
    fewer, since FlashAttention, which takes unshared prompts alone, is the faster kernel.
    """

    wanted: bool | Literal["auto"] = "auto"
    on_gpu: bool = False

    def __call__(self, groups: Sequence[Group]) -> bool:
        """The answer for a batch of these groups."""
        if self.wanted == "auto":
            return not self.on_gpu or token_ratio(groups) >= SHARING_PAYS
        return self.wanted


def filler(group: Group) -> Group:
    """A group of the same shape with one token per part: cheap, valid, to be given weight 0."""
    responses = tuple(response[:1] for response in group.responses)
    reference = tuple(0.0 for _ in group.reference)
    return Group(f"{group.id}#filler", group.prompt[:1], responses, group.scores, group.targets, reference=reference)


def pack(
    groups: Sequence[Group],
    *,
    row_tokens: int,
    pad_id: int = 0,
    totals: Totals | None = None,
    weights: Sequence[float] | None = None,
    share: bool = True,
) -> PackedBatch:
    """Pack ``groups`` into rows of at most ``row_tokens`` tokens; a longer group makes the rows as long as itself.

    Groups keep their order: group g of the batch is ``groups[g]``, its responses keep theirs. ``totals`` defaults to
    the count over the groups with weight 1, ``weights`` to 1 everywhere. ``pad_id`` only fills space: nothing reads it.
    share: False lays a prompt of its own before each response.

    Raises: ValueError when there is no group, or a prompt or response has no token.
    """
    if not groups or any(not len(g.prompt) or not all(map(len, g.responses)) or not g.responses for g in groups):
        raise ValueError("pack: expected one group or more, each with a prompt and responses of one token or more")
    weight = [1.0] * len(groups) if weights is None else [float(w) for w in weights]
    lengths = [group.tokens(share) for group in groups]
    rows = assign_rows(lengths, row_tokens)
    width = _width(rows, lengths)
    start = np.zeros(len(groups), np.int64)
    for r, row in enumerate(rows):
        start[row] = r * width + np.cumsum([0, *(lengths[i] for i in row[:-1])])
    empty = {"input": pad_id, "position": 0, "group": -1, "response": 0, "scored": 0}
    flat = {name: np.full(len(rows) * width, fill, np.int64) for name, fill in empty.items()}
    predict, target = _fill(groups, start, flat, share)
    sizes = [length for g in groups for length in g.lengths]
    counts = [len(g.responses) for g in groups]
    longest = max(len(g.prompt) + max(map(len, g.responses)) for g in groups)
    if totals is None:
        totals = count_totals([g for g, w in zip(groups, weight, strict=True) if w > 0])
    segments = _segments(flat["group"], flat["response"])
    made = {name: torch.from_numpy(values.reshape(len(rows), width)) for name, values in flat.items()}
    return PackedBatch(
        input_ids=made["input"],
        position_ids=made["position"],
        group_ids=made["group"].int(),
        response_ids=made["response"].int(),
        scored=made["scored"].bool(),
        predict_at=torch.from_numpy(predict),
        target_ids=torch.from_numpy(target),
        target_response=torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes)),
        lengths=torch.tensor(sizes),
        scores=torch.tensor([s for g in groups for s in g.scores], dtype=torch.float32),
        targets=torch.tensor([t for g in groups for t in g.targets], dtype=torch.bool),
        response_group=torch.from_numpy(np.repeat(np.arange(len(groups)), counts)),
        weights=torch.tensor(weight, dtype=torch.float32),
        totals=totals,
        real_tokens=sum(lengths),
        plain_tokens=len(sizes) * longest,
        reference=torch.tensor([v for g in groups for v in g.reference]) if groups[0].reference else None,
        most_ranked=max(1, *(sum(s == s for s in g.scores) for g in groups)),
        shared=share,
        segments=torch.from_numpy(segments),
        longest_segment=int(np.diff(segments).max()),
    )


FILL = {"input_ids": 0, "position_ids": 0, "group_ids": -1, "response_ids": 0}  # what stands in padding


def in_columns(batch: PackedBatch, rows: slice, columns: int) -> PackedBatch:
    """What a backbone reads of some rows, cut or padded to so many columns; the rest of the batch is as it was."""
    size = batch.input_ids.shape[1]
    made: dict[str, Any] = {
        name: pad_tensor(getattr(batch, name)[rows], (0, columns - size), value=fill) for name, fill in FILL.items()
    }
    return replace(batch, **made)


def _segments(group: np.ndarray, response: np.ndarray) -> np.ndarray:
    """See PackedBatch.segments; what fills a row up is one too. A row begins with a group of its own."""
    begins = (np.diff(group) != 0) | (np.diff(response) != 0)
    return np.concatenate([[0], np.flatnonzero(begins) + 1, [len(group)]]).astype(np.int32)


def _fill(
    groups: Sequence[Group], start: np.ndarray, flat: dict[str, np.ndarray], share: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Write every group at its place; give the flat positions that predict and the ids they predict, in group order."""
    predict: list[np.ndarray] = []
    target: list[np.ndarray] = []
    for g, group in enumerate(groups):
        at, size = int(start[g]), len(group.prompt)
        flat["group"][at : at + group.tokens(share)] = g
        for k, (response, mask) in enumerate(zip(group.responses, group.masks, strict=True), start=1):
            if k == 1 or not share:
                flat["input"][at : at + size] = group.prompt
                flat["position"][at : at + size] = np.arange(size)
                flat["response"][at : at + size] = 0 if share else k
                at += size
                last = at - 1  # of the prompt
            end = at + len(response)
            flat["input"][at:end] = response
            flat["position"][at:end] = np.arange(size, size + len(response))
            flat["response"][at:end] = k
            where = np.arange(at - 1, end - 1)
            where[0] = last  # the first token is predicted by the prompt's last, whatever stands between
            flat["scored"][at:end] = mask
            predict.append(where[mask])
            target.append(response[mask].astype(np.int64))
            at = end
    return np.concatenate(predict), np.concatenate(target)
