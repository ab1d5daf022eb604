"""Mean log-probabilities of given responses under the measured model, stored block by block."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch

from tuna.console import Progress
from tuna.data.batch import Group
from tuna.data.lists import AnswerList
from tuna.data.load import problem_text
from tuna.data.packing import pack
from tuna.data.tokenize import tokenize
from tuna.errors import DataError
from tuna.evaluation.desk import Desk, check_likelihoods
from tuna.inference.store import key_of
from tuna.models.finite import check_values

Scored = tuple[Group, list[float]]


def response_values(
    desk: Desk, lists: Sequence[AnswerList], *, max_length: int, row_tokens: int, ranked: bool
) -> tuple[list[Scored], Counter[str]]:
    """Each list that keeps something with v of its responses; and what was dropped, shortened or cut, by reason.

    v_k = (1 / |r_k|) log p(r_k | i) in nats a token, the end-of-sequence counted (the paper's Eq. 4).

    Raises:
        ConfigError: what is measured is no model on this machine, or max_length is too short for the template.
        DataError: nothing is left.
        ModelError: the model computes no number.
    """
    check_likelihoods(desk.given, desk.generation)
    limit = min(max_length, desk.max_positions or max_length)
    encoder = desk.model.encoder()
    found, counts = tokenize(lists, encoder, limit, ranked=ranked)
    if counts.problems:
        raise DataError(problem_text(counts.problems))
    groups = [group for _, group in found]
    dropped = counts.dropped + Counter({"prompt shortened": counts.shortened, "response cut": counts.cut})
    check_left(groups, f"max_length={limit}", dropped)
    scorer, _ = desk.scorer
    journal = desk.context.store.journal("values")
    base = {"model": desk.model.fingerprint, **desk.generation.identity(), "max_length": limit}
    keys = [
        key_of(
            **base,
            place=place,
            prompt=group.prompt.tolist(),
            responses=[r.tolist() for r in group.responses],
            **({} if all(mask.all() for mask in group.masks) else {"scored": [m.tolist() for m in group.masks]}),
        )
        for place, group in enumerate(groups)
    ]
    order = sorted(range(len(groups)), key=lambda i: (-groups[i].num_tokens, i))
    blocks = [order[at : at + desk.generation.batch_size] for at in range(0, len(order), desk.generation.batch_size)]
    missing = [block for block in blocks if any(keys[i] not in journal for i in block)]
    progress = Progress("lists", len(groups), len(groups) - sum(map(len, missing)))
    for block in missing:
        computed = _values(scorer, [groups[i] for i in block], row_tokens)
        check_values([v for values in computed for v in values], desk.model.resolve().source, "log-probabilities")
        for i, values in zip(block, computed, strict=True):
            if keys[i] not in journal:
                journal.append({"key": keys[i], "v": values})
        progress.update(len(block))
    progress.close()
    scored = [(group, journal.read(key, _stored)[0]) for group, key in zip(groups, keys, strict=True)]
    return scored, dropped


def _stored(line: dict[str, Any]) -> list[float]:
    return [float(value) for value in line["v"]]


def check_left(found: Sequence[object], where: str, dropped: Counter[str]) -> None:
    """Raises DataError, with what was dropped and why, where nothing is left to score."""
    if not found:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in sorted(dropped.items()) if count)
        raise DataError(f"{where}: expected a response to score, got none ({reasons or 'no rows'})")


@torch.inference_mode()
def _values(scorer: Any, groups: Sequence[Group], row_tokens: int) -> list[list[float]]:
    device = str(next(scorer.parameters()).device)
    batch = pack(groups, row_tokens=row_tokens).to(device)
    flat = iter((scorer(batch).double() / batch.lengths).tolist())
    return [[next(flat) for _ in group.responses] for group in groups]
