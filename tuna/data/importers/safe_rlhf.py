"""PKU-SafeRLHF: two responses, the better one (scores 1 and 0) and the safer one, which is kept beside it."""

from typing import Any

from tuna.data.fields import FieldError, plain, text
from tuna.data.importers.base import Importer, Notes, RawRow
from tuna.data.importers.turns import made, question, read_prompt
from tuna.data.record import Candidate, Record

_USED = {"prompt", "better_response_id", "safer_response_id"} | {
    key for k in (0, 1) for key in (f"response_{k}", f"is_response_{k}_safe")
}


def read(row: RawRow, where: str, index: int, notes: Notes) -> Record:
    """Read one row; where the better response is not the safer one, that is counted."""
    better = _which(row, "better_response_id")
    safer = None if row.get("safer_response_id") is None else _which(row, "safer_response_id")
    if safer is not None and safer != better:
        notes["rows whose better response is not the safer one; the better one decides"] += 1
    both = [Candidate(text(row, f"response_{k}"), float(k == better), extra=_flags(row, k, safer)) for k in (0, 1)]
    turns = question(read_prompt(row.get("prompt"), "prompt"), (), "prompt")
    return made(row, where, index, turns, both, _USED, notes)


def _which(row: RawRow, key: str) -> int:
    value = plain(row.get(key))
    if value not in (0, 1) or isinstance(value, bool):
        raise FieldError(key, "0 or 1", value)
    return int(value)


def _flags(row: RawRow, k: int, safer: int | None) -> dict[str, Any]:
    flags = {"safe": plain(row.get(f"is_response_{k}_safe")), "safer": None if safer is None else k == safer}
    return {key: value for key, value in flags.items() if value is not None}


IMPORTER = Importer(
    "safe_rlhf",
    {"prompt": "text", "response_0": "text", "response_1": "text", "better_response_id": "number"},
    read,
    {
        "id": "text|number", "safer_response_id": "number", "is_response_0_safe": "flag", "is_response_1_safe": "flag",
    },
    original="best",
)  # fmt: skip
