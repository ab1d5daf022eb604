"""HelpSteer2 (nvidia): one row per response with five ratings; ``helpfulness`` is the score, the rest stays with it.

Rows are joined into lists by their prompt.
"""

from tuna.data.fields import number, text
from tuna.data.importers.base import Importer, Notes, RawRow
from tuna.data.importers.turns import joined, made, question, read_prompt
from tuna.data.record import Candidate, Record

_RATINGS = ("correctness", "coherence", "complexity", "verbosity")


def read(row: RawRow, where: str, index: int, notes: Notes) -> Record:
    """Read one row, a list of one."""
    turns = question(read_prompt(row.get("prompt"), "prompt"), (), "prompt")
    score = number(row.get("helpfulness"), "helpfulness")
    ratings = {key: number(row[key], key) for key in _RATINGS if row.get(key) is not None}
    answer = Candidate(text(row, "response"), score, extra=ratings)
    return made(row, where, index, turns, [answer], {"prompt", "response", "helpfulness", *_RATINGS}, notes)


IMPORTER = Importer(
    "helpsteer2",
    {"prompt": "text|messages", "response": "text", "helpfulness": "number"},
    read,
    {"id": "text|number", **dict.fromkeys(_RATINGS, "number")},
    join=joined,
    original="best",
)
