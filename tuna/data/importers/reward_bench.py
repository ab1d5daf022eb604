"""RewardBench 2 (allenai): a prompt with a list of right answers (score 1) and a list of wrong ones (score 0)."""

from tuna.data.fields import FieldError, optional_count
from tuna.data.importers.base import Importer, Notes, RawRow
from tuna.data.importers.turns import made, question, read_prompt, read_texts
from tuna.data.record import Candidate, Record

_LISTS = (("chosen", "num_correct", 1.0), ("rejected", "num_incorrect", 0.0))


def read(row: RawRow, where: str, index: int, notes: Notes) -> Record:
    """Read one row; numbers of answers that contradict the lists are counted."""
    candidates = []
    for key, counted, score in _LISTS:
        for k, text in enumerate(texts := read_texts(row, key)):
            if text is None:
                raise FieldError(f"{key}[{k}]", "a string", None)
            candidates.append(Candidate(text, score))
        if optional_count(row, counted) not in (None, len(texts)):
            notes[f"rows whose {counted} is not the number of {key} answers"] += 1
    turns = question(read_prompt(row.get("prompt"), "prompt"), (), "prompt")
    return made(row, where, index, turns, candidates, {"prompt", "chosen", "rejected"}, notes)


IMPORTER = Importer(
    "reward_bench",
    {"prompt": "text|messages", "chosen": "texts", "rejected": "texts"},
    read,
    {
        "id": "text|number", "num_correct": "number", "num_incorrect": "number", "total_completions": "number",
        "models": "texts", "subset": "text", "additional_metadata": "any",
    },
    original="best",
)  # fmt: skip
