"""Packing: several groups into one row, prompt once, the responses after it (see docs/scorer.md)."""

from collections.abc import Sequence
from heapq import heapreplace

import numpy as np
import torch

from tuna.data.batch import Group, PackedBatch, Totals


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
        if longest <= capacity and count * longest < len(best) * width:
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
) -> PackedBatch:
    """Pack ``groups`` into rows of at most ``row_tokens`` tokens; a longer group makes the rows as long as itself.

    Groups keep their order: group g of the batch is ``groups[g]``, its responses keep theirs. ``totals`` defaults to
    the count over the groups with weight 1, ``weights`` to 1 everywhere. ``pad_id`` only fills space: nothing reads it.

    Raises: ValueError when there is no group, or a prompt or response has no token.
    """
    if not groups or any(not len(g.prompt) or not all(map(len, g.responses)) or not g.responses for g in groups):
        raise ValueError("pack: expected one group or more, each with a prompt and responses of one token or more")
    weight = [1.0] * len(groups) if weights is None else [float(w) for w in weights]
    lengths = [group.num_tokens for group in groups]
    rows = assign_rows(lengths, row_tokens)
    width = _width(rows, lengths)
    start = np.zeros(len(groups), np.int64)
    for r, row in enumerate(rows):
        start[row] = r * width + np.cumsum([0, *(lengths[i] for i in row[:-1])])
    empty = {"input": pad_id, "position": 0, "group": -1, "response": 0, "scored": 0}
    flat = {name: np.full(len(rows) * width, fill, np.int64) for name, fill in empty.items()}
    predict, target = _fill(groups, start, flat)
    sizes = [length for g in groups for length in g.lengths]
    counts = [len(g.responses) for g in groups]
    longest = max(len(g.prompt) + max(map(len, g.responses)) for g in groups)
    if totals is None:
        totals = count_totals([g for g, w in zip(groups, weight, strict=True) if w > 0])
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
    )


def _fill(groups: Sequence[Group], start: np.ndarray, flat: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Write every group at its place; give the flat positions that predict and the ids they predict, in group order."""
    predict: list[np.ndarray] = []
    target: list[np.ndarray] = []
    for g, group in enumerate(groups):
        begin, size = int(start[g]), len(group.prompt)
        at = begin + size
        flat["input"][begin:at] = group.prompt
        flat["position"][begin:at] = np.arange(size)
        flat["group"][begin : begin + group.num_tokens] = g
        for k, (response, mask) in enumerate(zip(group.responses, group.masks, strict=True), start=1):
            end = at + len(response)
            flat["input"][at:end] = response
            flat["position"][at:end] = np.arange(size, size + len(response))
            flat["response"][at:end] = k
            where = np.arange(at - 1, end - 1)
            where[0] = begin + size - 1  # the first token is predicted by the prompt's last, whatever stands between
            flat["scored"][at:end] = mask
            predict.append(where[mask])
            target.append(response[mask].astype(np.int64))
            at = end
    return np.concatenate(predict), np.concatenate(target)
