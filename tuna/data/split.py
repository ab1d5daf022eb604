"""The held-out part: chosen by a hash of (instruction, input), so the same whatever the seed or the order."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tuna.data.record import Record
from tuna.data.templates import parse_alpaca


def split_key(record: Record) -> bytes:
    """16 bytes that stand for the question. A finished Alpaca prompt has the key of the instruction inside it.

    >>> split_key(Record("a", "Add.", "1 2")) == split_key(Record("b", "Add. ", "1 2"))
    True
    """
    if record.messages:
        return hashlib.sha256(json.dumps(record.question, sort_keys=True).encode()).digest()[:16]
    asked = (record.instruction, record.input)
    if record.template == "none" and not record.input:
        asked = parse_alpaca(record.instruction) or asked
    # Spaces at the ends make no other question, and files differ in them.
    text = "\x1f".join(part.strip() for part in asked)
    return hashlib.sha256(text.encode()).digest()[:16]


@dataclass(frozen=True, slots=True)
class Split:
    """Indices into the sequence that was split, each in order."""

    train: list[int]
    held_out: list[int]


def split(keys: Sequence[bytes], held_out: int | float) -> Split:
    """Hold out ``held_out`` lists (a whole number) or that share of all questions (between 0 and 1).

    A count takes the questions with the smallest hashes until it is reached; a question asked several times goes whole,
    so it may end a little above. A share takes each question whose hash lies below it, whatever else there is.

    >>> split([b"b" * 16, b"a" * 16, b"b" * 16, b"c" * 16], 1)
    Split(train=[0, 2, 3], held_out=[1])
    """
    if 0 < held_out < 1:
        limit = int(held_out * 2**64)
        chosen = {key for key in keys if int.from_bytes(key[:8]) < limit}
    else:
        chosen, count = set(), 0
        times: dict[bytes, int] = {}
        for key in keys:
            times[key] = times.get(key, 0) + 1
        for key in sorted(times):
            if count >= held_out:
                break
            chosen.add(key)
            count += times[key]
    return by_keys(keys, chosen)


def by_keys(keys: Sequence[bytes], chosen: Iterable[bytes]) -> Split:
    """Hold out exactly the questions in ``chosen``."""
    wanted = set(chosen)
    return Split(
        [i for i, key in enumerate(keys) if key not in wanted], [i for i, key in enumerate(keys) if key in wanted]
    )
