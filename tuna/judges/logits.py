"""Marks of a local model without a word being written: one forward pass of each prompt and the beginning of a reply."""

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from tuna.data.record import Record
from tuna.errors import ModelError
from tuna.inference.backend import store_in_blocks
from tuna.inference.context import Context
from tuna.inference.local import Local
from tuna.judges.replies import Query

if TYPE_CHECKING:
    from tuna.inference.generate import Generator


def weigh(local: Local, queries: Sequence[Query[Any]], lead: str, marks: Sequence[str], context: Context) -> None:
    """Store the probability of every mark after each prompt and ``lead``, for those queries that the store lacks.

    A mark of several tokens has the product of theirs; what a longer mark takes of a shorter one that begins it (10 of
    1) is not the shorter one's. The line reads as a reply that is the likeliest mark, with one place.
    """
    journal = context.store.journal("verdicts")
    distinct = list({query.key: query for query in queries}.values())
    if all(query.key in journal for query in distinct):
        return
    from tuna.inference.generate import Generator, longest_first

    generator = Generator(local.model, max_tokens=1, device=local.device, dtype=local.dtype)
    lead_ids, endings = spelled(generator, lead, marks)
    generator.max_tokens = len(lead_ids) + max(map(len, endings.values()))

    @cache
    def prompt(i: int) -> list[int]:
        try:
            return [*generator.prompt(Record(distinct[i].key, distinct[i].prompt), cut=False), *lead_ids]
        except ModelError as error:
            context.aside[distinct[i].key] = str(error)
            return []

    def make(block: Sequence[int]) -> Iterable[Mapping[str, Any] | None]:
        fit = [i for i in block if prompt(i)]
        found = dict(zip(fit, _chances(generator, [prompt(i) for i in fit], endings), strict=True))
        return [_line(found[i]) if i in found else None for i in block]

    order = longest_first([prompt(i) for i in range(len(distinct))])
    store_in_blocks(journal, [query.key for query in distinct], order, local.block, "verdicts", make)


def spelled(generator: "Generator", lead: str, marks: Sequence[str]) -> tuple[list[int], dict[str, tuple[int, ...]]]:
    """The tokens that ``lead`` followed by any mark begins with, and each mark's own: a tokenizer may join the two."""
    rows = [generator.tokenizer(lead + mark, add_special_tokens=False)["input_ids"] for mark in marks]
    shared = 0
    while all(shared < len(row) - 1 for row in rows) and len({row[shared] for row in rows}) == 1:
        shared += 1
    return rows[0][:shared], {mark: tuple(row[shared:]) for mark, row in zip(marks, rows, strict=True)}


def _chances(
    generator: "Generator", prompts: Sequence[list[int]], endings: Mapping[str, tuple[int, ...]]
) -> list[dict[str, float]]:
    """The probability of each mark after each prompt."""
    found: list[dict[str, float]] = [{} for _ in prompts]
    if not prompts:
        return found
    begun = sorted({ids[:end] for ids in endings.values() for end in range(len(ids))})  # () is the first
    after = {start: generator.next_logprobs([[*ids, *start] for ids in prompts]) for start in begun}
    for mark, ids in endings.items():
        steps = [after[ids[:end]][:, token].tolist() for end, token in enumerate(ids)]
        for row, values in zip(found, zip(*steps, strict=True), strict=True):
            row[mark] = math.exp(math.fsum(values))
    longest = sorted(endings, key=lambda mark: -len(endings[mark]))
    for row in found:
        whole = dict(row)
        for mark in longest:
            ids = endings[mark]
            longer = [m for m in longest if len(endings[m]) > len(ids) and endings[m][: len(ids)] == ids]
            row[mark] = max(0.0, whole[mark] - math.fsum(row[m] for m in longer))
    return found


def _line(chances: Mapping[str, float]) -> dict[str, Any]:
    best = max(chances, key=lambda mark: chances[mark])
    top = {mark: round(math.log(chance), 6) for mark, chance in chances.items() if chance > 0}
    return {"text": best, "finish_reason": "stop", "places": [[0, best, top]]}
