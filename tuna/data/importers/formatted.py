"""The authors' files formatted for training: instruction (a finished prompt), output (list), score (list), id."""

from tuna.data.fields import FieldError, check_text, identity, items, number, rest, text
from tuna.data.importers.base import Importer, Notes, RawRow
from tuna.data.record import Candidate, Record

_USED = frozenset({"id", "instruction", "output", "score"})


def read(row: RawRow, where: str, index: int, notes: Notes) -> Record:
    """Read one row; the prompt is taken as it is (``template`` none)."""
    texts = items(row, "output", "strings")
    scores = items(row, "score", "numbers")
    if len(scores) != len(texts):
        raise FieldError("score", f"{len(texts)} numbers, one an output", scores)
    return Record(
        id=identity(row, index),
        instruction=text(row, "instruction"),
        responses=tuple(
            Candidate(check_text(t, f"output[{k}]"), score=number(s, f"score[{k}]"))
            for k, (t, s) in enumerate(zip(texts, scores, strict=True))
        ),
        template="none",
        where=where,
        extra=rest(row, _USED),
    )


IMPORTER = Importer(
    "formatted",
    {"instruction": "text", "output": "texts", "score": "numbers"},
    read,
    {"id": "text|number"},
    hint="set datamodule.original=FILE, Alpaca's alpaca_data.json, joined by id (or best, none)",
)
