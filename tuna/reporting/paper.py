"""What the paper says, and the words for what it names. Its numbers stand apart from ours, never among them."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tuna.errors import DataError

_FIELDS: dict[str, type | tuple[type, ...]] = {"table": str, "system": str, "column": str, "value": (int, float)}


@cache
def paper() -> dict[str, Any]:
    """The embedded file: order of systems, titles, statements of the text and the claims that are checked.

    The cells of the paper's tables are not in it: the text that it was made from has lost them (``read_cells``).
    """
    found: dict[str, Any] = json.loads(Path(__file__).with_name("paper.json").read_text(encoding="utf-8"))
    return found


@dataclass(frozen=True, slots=True)
class PaperCell:
    """One number of the paper: ``table`` as it is numbered there, ``system`` its row, ``column`` its column."""

    table: str
    system: str
    column: str
    value: float


def read_cells(path: Path) -> list[PaperCell]:
    """The paper's cells from a JSON list of {"table": "1", "system": "Tuna", "column": "LMentry", "value": 1.0}.

    Raises:
        DataError: the file is no such list; all that is wrong, a line each.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: expected JSON, got {error}") from error
    if not isinstance(rows, list):
        raise DataError(f"{path}: expected a list of cells, got {type(rows).__name__}")
    wrong = [
        f"{path}: cell {number}: {key}: expected {'a number' if key == 'value' else 'text'}, "
        f"got {row.get(key) if isinstance(row, dict) else row!r}"
        for number, row in enumerate(rows, start=1)
        for key, kind in _FIELDS.items()
        if not isinstance(row, dict) or not isinstance(row.get(key), kind) or isinstance(row.get(key), bool)
    ]
    if wrong:
        raise DataError("\n".join(wrong))
    return [PaperCell(row["table"], row["system"], row["column"], float(row["value"])) for row in rows]


def place_in_order(label: str, base: str = "") -> tuple[int, str]:
    """Sorts systems as the paper's tables do, others after them by name.

    >>> sorted(["mine", "Tuna", "Alpaca"], key=place_in_order)
    ['Alpaca', 'Tuna', 'mine']
    """
    order: list[str] = paper()["order"]
    for name in (label, base):
        if name in order:
            return order.index(name), label
    return len(order), label
