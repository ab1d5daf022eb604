"""The held-out part: chosen by a hash of (instruction, input), so the same whatever the seed or the order."""

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Sequence

from tuna.data.record import Record
from tuna.data.templates import parse_alpaca


def split_key(record: Record) -> bytes:
    """16 bytes that stand for the question. A finished Alpaca prompt has the key of the instruction inside it."""
    finished = record.template == "none" and not record.input
    asked = (parse_alpaca(record.instruction) if finished else None) or (record.instruction, record.input)
    # Spaces at the ends make no other question, and files differ in them.
    text = json.dumps(record.question, sort_keys=True) if record.messages else "\x1f".join(map(str.strip, asked))
    return hashlib.sha256(text.encode()).digest()[:16]


def split(keys: Sequence[bytes], held_out: int | float) -> tuple[list[int], list[int]]:
    """The indices to train on, and those of ``held_out`` lists (a whole number) or that share of all questions.

    A count takes the questions with the smallest hashes until it is reached; a question asked several times goes whole,
    so it may end a little above. A share takes each question whose hash lies below it, whatever else there is.
    """
    if 0 < held_out < 1:
        limit = int(held_out * 2**64)
        return by_keys(keys, {key for key in keys if int.from_bytes(key[:8]) < limit})
    chosen: Counter[bytes] = Counter()
    for key, times in sorted(Counter(keys).items()):
        if chosen.total() < held_out:
            chosen[key] = times
    return by_keys(keys, chosen)


def by_keys(keys: Sequence[bytes], chosen: Collection[bytes]) -> tuple[list[int], list[int]]:
    """Hold out exactly the questions in ``chosen``; see ``split``."""
    places = range(len(keys))
    return [i for i in places if keys[i] not in chosen], [i for i in places if keys[i] in chosen]
