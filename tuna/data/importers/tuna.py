"""The house's own record (see tuna.data.record)."""

from typing import Any

from tuna.data.fields import FieldError, identity, items, optional_count, optional_number, rest, text
from tuna.data.importers.base import Importer, RawRow
from tuna.data.record import Candidate, Record

_CANDIDATE = frozenset({"text", "score", "logprob", "num_tokens", "source", "finish_reason"})
_RECORD = frozenset({"id", "instruction", "input", "output", "responses", "template"})


def recognize(row: RawRow) -> bool:
    """A row with ``responses`` and ``instruction`` (or one of them misspelt: the fields say so)."""
    return "responses" in row


def read(row: RawRow, where: str, index: int) -> Record:
    """Read one record. ``responses`` may be absent; a ranking needs two, which its datamodule checks."""
    responses = () if row.get("responses") is None else items(row, "responses", "objects with text and score")
    return Record(
        id=identity(row, index),
        instruction=text(row, "instruction"),
        input=text(row, "input", default=""),
        output=None if row.get("output") is None else text(row, "output"),
        responses=tuple(_candidate(value, f"responses[{k}]") for k, value in enumerate(responses)),
        template=None if row.get("template") is None else text(row, "template"),
        where=where,
        extra=rest(row, _RECORD),
    )


def _candidate(value: Any, field: str) -> Candidate:
    if not isinstance(value, dict):
        raise FieldError(field, "an object with text and score", value)
    path = field + "."
    return Candidate(
        text=text(value, "text", path=path),
        score=optional_number(value, "score", path),
        logprob=optional_number(value, "logprob", path),
        num_tokens=optional_count(value, "num_tokens", path),
        source=None if value.get("source") is None else text(value, "source", path=path),
        finish_reason=None if value.get("finish_reason") is None else text(value, "finish_reason", path=path),
        extra=rest(value, _CANDIDATE),
    )


IMPORTER = Importer("tuna", "instruction, output, responses", recognize, read)
