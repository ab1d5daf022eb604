"""Unpaired answers (TRL's KTO): a prompt, a completion and whether it is wanted, joined into lists by their prompt."""

from collections.abc import Sequence

from tuna.data.fields import FieldError, plain
from tuna.data.importers.base import Imported, Importer, Notes, RawRow
from tuna.data.importers.turns import joined, made, question, read_answer, read_prompt
from tuna.data.record import Record


def read(row: RawRow, where: str, index: int, notes: Notes) -> Record:
    """Read one row, a list of one: score 1 where ``label`` is true, else 0."""
    label = plain(row.get("label"))
    if label not in (0, 1) or isinstance(label, float):
        raise FieldError("label", "true or false", label)
    answer = read_answer(row.get("completion"), "completion")
    turns = question(read_prompt(row.get("prompt"), "prompt"), answer.history, "prompt")
    return made(row, where, index, turns, [answer.candidate(float(label))], {"prompt", "completion", "label"}, notes)


def join(records: Sequence[Record], notes: Notes) -> Sequence[Imported]:
    """One list per prompt; a prompt none of whose answers is wanted has no target, and is left out and counted."""
    found = joined(records, notes)
    kept = [(where, r) for where, r in found if isinstance(r, Record) and any(c.score for c in r.responses)]
    notes["prompts without an answer whose label is true, left out"] += len(found) - len(kept)
    return kept


IMPORTER = Importer(
    "kto",
    {"prompt": "text|messages|message", "completion": "text|message|messages", "label": "flag|number"},
    read,
    {"id": "text|number"},
    join=join,
    original="best",
)
