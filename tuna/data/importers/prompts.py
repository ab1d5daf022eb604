"""Questions without answers: ``prompt`` alone, a text or chat messages. rank.py collects answers to them."""

from tuna.data.fields import FieldError
from tuna.data.importers.base import Importer, Notes, RawRow
from tuna.data.importers.turns import first_key, made, question, read_prompt
from tuna.data.record import Record

_ANSWERS = ("output", "response", "completion", "answer", "answers", "responses", "completions", "generations")


def read(row: RawRow, where: str, index: int, notes: Notes) -> Record:
    """Read one row.

    Raises: FieldError for a column of answers, which would not be read.
    """
    key = first_key(row, _ANSWERS)
    if key is not None:
        hint = f"next: datamodule.columns={{instruction: prompt, output: {key}}} for one answer, responses: for a list"
        raise FieldError(key, "no answers beside prompt in this format", row[key], hint)
    turns = question(read_prompt(row.get("prompt"), "prompt"), (), "prompt")
    return made(row, where, index, turns, (), {"prompt"}, notes)


IMPORTER = Importer("prompts", {"prompt": "text|messages|message"}, read, {"id": "text|number"})
