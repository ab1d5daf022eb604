"""The authors' file of text-davinci-003's answers: orig, text, avg_token_prob, length, logprob.

``orig`` is the Alpaca row. Of each answer ``logprob`` is the summed log-probability and ``length`` its tokens: what
Eq. 3 needs, so the file is ranked by ``rank_by=eq3`` and carries no score of its own. ``avg_token_prob`` is kept, not
used.
"""

from typing import Any

from tuna.data.fields import FieldError, check_text, items, number, optional_count, rest
from tuna.data.importers import alpaca
from tuna.data.importers.base import Importer, Notes, RawRow
from tuna.data.record import Candidate, Record

_USED = frozenset({"orig", "text", "length", "logprob"})


def read(row: RawRow, where: str, index: int, notes: Notes) -> Record:
    """Read one row; ``text``, ``length`` and ``logprob`` must be lists of one size."""
    orig = row.get("orig")
    if not isinstance(orig, dict):
        raise FieldError("orig", "an object with instruction, input, output", orig)
    try:
        record = alpaca.read({"id": row.get("id"), **orig}, where, index, notes)
    except FieldError as error:
        raise _Inside("orig", error) from None
    texts = items(row, "text", "strings")
    lengths = _same_size(row, "length", len(texts))
    logprobs = _same_size(row, "logprob", len(texts))
    candidates = tuple(
        Candidate(
            text=check_text(texts[k], f"text[{k}]"),
            logprob=_sum(logprobs[k], f"logprob[{k}]"),
            num_tokens=optional_count({f"length[{k}]": lengths[k]}, f"length[{k}]"),
            source="text-davinci-003",
        )
        for k in range(len(texts))
    )
    return Record(
        record.id, record.instruction, record.input, record.output, candidates, where=where, extra=rest(row, _USED)
    )


class _Inside(FieldError):
    def __init__(self, outer: str, error: FieldError) -> None:
        Exception.__init__(self, f"{outer}.{error}")
        self.reason = f"{outer}.{error.reason}"


def _same_size(row: RawRow, key: str, size: int) -> list[Any]:
    values = items(row, key, "numbers")
    if len(values) != size:
        raise FieldError(key, f"{size} values, one a text", values)
    return values


def _sum(value: Any, field: str) -> float:
    """The answer's log-probability; a list of its tokens' is summed."""
    if isinstance(value, list):
        return sum(number(v, field) for v in value)
    return number(value, field)


IMPORTER = Importer(
    "davinci",
    {"orig": "object", "text": "texts", "length": "numbers", "logprob": "list"},
    read,
    {"id": "text|number", "avg_token_prob": "list"},
)
