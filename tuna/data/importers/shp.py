"""Stanford's SHP: two comments on a post with their votes, many rows per post, joined into lists by ``post_id``."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from tuna.data.fields import FieldError, number, plain, text
from tuna.data.importers.base import Imported, Importer, Notes, RawRow
from tuna.data.importers.turns import made, read_prompt
from tuna.data.record import Candidate, Record

_ANSWERS = (("human_ref_A", "score_A"), ("human_ref_B", "score_B"))


def read(row: RawRow, where: str, index: int, notes: Notes) -> Record:
    """Read one row, a list of two.

    Raises: FieldError where ``labels`` (1: A is better) contradicts the votes.
    """
    both = [Candidate(text(row, key), number(row.get(score), score)) for key, score in _ANSWERS]
    a, b = (c.score or 0.0 for c in both)
    label = plain(row.get("labels"))
    if label is not None and (label not in (0, 1) or (a - b) * (1 if label else -1) < 0):
        raise FieldError("labels", "1 where score_A is higher, else 0", label, f"the scores are {a:g} and {b:g}")
    turns = read_prompt(row.get("history"), "history")
    used = {"post_id", "history", "labels", "score_ratio", *(key for pair in _ANSWERS for key in pair)}
    return replace(made(row, where, index, turns, both, used, notes), id=_post(row))


def _post(row: RawRow) -> str:
    value = row.get("post_id")
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise FieldError("post_id", "a string or a whole number", value)
    return str(value)


def join(records: Sequence[Record], notes: Notes) -> Iterator[Imported]:
    """One list per post; a comment that stands in several rows is taken once."""
    posts: dict[str, Record] = {}
    for record in records:
        there = posts.setdefault(record.id, record)
        if there.question != record.question:
            fault = FieldError("history", "one text per post_id", record.instruction, f"{there.where} has another")
            yield record.where, fault
            continue
        known = {(c.text, c.score) for c in there.responses}
        new = [c for c in record.responses if there is not record and (c.text, c.score) not in known]
        posts[record.id] = replace(there, responses=(*there.responses, *new))
    for record in posts.values():
        yield record.where, record


IMPORTER = Importer(
    "shp",
    {
        "post_id": "text|number", "history": "text", "human_ref_A": "text", "human_ref_B": "text",
        "score_A": "number", "score_B": "number",
    },
    read,
    {"labels": "number|flag", "score_ratio": "number"},
    join=join,
    original="best",
)  # fmt: skip
