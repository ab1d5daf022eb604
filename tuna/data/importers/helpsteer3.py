"""HelpSteer3 (nvidia): two responses and a preference from -3, the first is much better, to 3; 0 is a tie.

The scores are minus half of it and half of it, so that they differ by the strength of the preference.
"""

from tuna.data.fields import FieldError, number, text
from tuna.data.importers.base import Importer, Notes, RawRow
from tuna.data.importers.turns import made, question, read_prompt
from tuna.data.record import Candidate, Record

_USED = {"context", "response1", "response2", "overall_preference"}


def read(row: RawRow, where: str, index: int, notes: Notes) -> Record:
    """Read one row."""
    preference = number(row.get("overall_preference"), "overall_preference")
    if not -3 <= preference <= 3:
        raise FieldError("overall_preference", "a number from -3 to 3", preference)
    if preference == 0:
        notes["rows whose overall_preference is 0, a tie"] += 1
    turns = question(read_prompt(row.get("context"), "context"), (), "context")
    both = [
        Candidate(text(row, key), sign * preference / 2 + 0.0) for key, sign in (("response1", -1), ("response2", 1))
    ]
    return made(row, where, index, turns, both, _USED, notes)


IMPORTER = Importer(
    "helpsteer3",
    {"context": "messages|text", "response1": "text", "response2": "text", "overall_preference": "number"},
    read,
    {"id": "text|number", "individual_preference": "objects", "domain": "text", "language": "text"},
    original="best",
)
