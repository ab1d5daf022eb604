"""The authors' file of GPT-4's rankings.

Fields: prompt, instruct, generation, id, gpt_eval, rank_str, rank (or ranks), response_4. ``generation`` holds the four
answers 0..3; ``rank`` lists indices, best first, where 4 is the judge's own reference (``response_4``), which is no
sample of the tuned model and so no candidate here. ``rank`` was made from every integer after "rank:", prose included;
when it is no list of different indices, the bracketed list in ``rank_str`` or ``gpt_eval`` is read. Answers that the
judge left out (duplicates) are dropped and counted. ``instruct`` is a finished Alpaca prompt.
"""

import re
from typing import Any

from tuna.data.fields import FieldError, check_text, identity, items, rest, text
from tuna.data.importers.base import Importer, Notes, RawRow
from tuna.data.record import Candidate, Record
from tuna.data.templates import parse_alpaca

_USED = frozenset({"id", "instruct", "generation", "prompt", "gpt_eval", "rank_str", "rank", "ranks"})


def read(row: RawRow, where: str, index: int, notes: Notes) -> Record:
    """Read one row; an answer's score is minus its place in the rank."""
    texts = [check_text(t, f"generation[{k}]") for k, t in enumerate(items(row, "generation", "strings"))]
    order = [k for k in _rank(row, len(texts)) if k < len(texts)]
    prompt = text(row, "instruct")
    parsed = parse_alpaca(prompt)
    return Record(
        id=identity(row, index),
        instruction=parsed[0] if parsed else prompt,
        input=parsed[1] if parsed else "",
        output=None if row.get("output") is None else text(row, "output"),
        responses=tuple(Candidate(texts[k], score=-float(place)) for place, k in enumerate(order)),
        template="none" if parsed is None and "### Response" in prompt else None,
        where=where,
        extra={**rest(row, _USED), "dropped": [texts[k] for k in range(len(texts)) if k not in order]},
    )


def _rank(row: RawRow, size: int) -> list[int]:
    given: Any = row.get("rank") if row.get("rank") is not None else row.get("ranks")
    key = "rank" if row.get("rank") is not None or row.get("ranks") is None else "ranks"
    if _valid(given, size):
        return list(given)
    for field in ("rank_str", "gpt_eval"):
        said = row.get(field)
        # A judge that explains itself says "rank:" more than once; its verdict is the last.
        lists = re.findall(r"\[([\d,\s]+)\]", said.lower().rpartition("rank:")[2]) if isinstance(said, str) else []
        numbers = [int(n) for n in re.findall(r"\d+", lists[0])] if lists else None
        if _valid(numbers, size):
            return numbers or []
    shown = ", ".join(map(str, given)) if isinstance(given, list) else given
    raise FieldError(key, f"different numbers from 0 to {size}, best first", shown)


def _valid(rank: Any, size: int) -> bool:
    return (
        isinstance(rank, list)
        and len(rank) > 0
        and all(isinstance(k, int) and not isinstance(k, bool) and 0 <= k <= size for k in rank)
        and len(set(rank)) == len(rank)
    )


IMPORTER = Importer(
    "gpt4_ranking",
    {"instruct": "text", "generation": "texts", "rank|ranks|rank_str|gpt_eval": "numbers|text"},
    read,
    {"id": "text|number", "prompt": "text", "output": "text", "response_4": "text"},
    hint="set datamodule.original=FILE, Alpaca's alpaca_data.json, joined by id (or best, none)",
)
