"""CSV and TSV: a header line, quoted line breaks, lists and objects as JSON in a cell."""

import csv
import io
from collections.abc import Sequence
from typing import Any

from tuna.data.fields import Cell, parse_json
from tuna.errors import DataError

Parsed = tuple[int, dict[str, Any] | None, str]  # line number, values by column, or what is wrong with the row


def read_delimited(path: str, text: str, *, tabs: bool) -> list[Parsed]:
    r"""The rows of a CSV file (tabs: a TSV file), whose first line names the columns.

    A cell is text (see ``Cell``), an empty one None. A column most of whose cells are JSON lists or objects is read as
    JSON. A column without a name, as pandas writes for its index, is left out. A CSV file may have semicolons or tabs
    between its cells: the header line decides.

    Raises: DataError for a header that cannot be used.

    >>> read_delimited("a.csv", 'q,n,r\nHi,3,"[""a"", ""b""]"\n"two\nlines",,[]\n', tabs=False)[1]
    (3, {'q': 'two\nlines', 'n': None, 'r': []}, '')
    """
    rows = _split(text, "\t" if tabs else max(",;\t", key=text.partition("\n")[0].count))
    (line, header, problem), *rows = rows
    _check_header(f"{path}:{line}", header, problem)
    whole = [cells for _, cells, _ in rows if len(cells) == len(header)]
    named = [k for k, name in enumerate(header) if name]
    as_json = {k for k in named if _mostly_json([cells[k] for cells in whole])}
    return [_row(*row, header, named, as_json) for row in rows]


def _split(text: str, mark: str) -> list[tuple[int, list[str], str]]:
    """Line number, cells and problem of each row; blank lines are skipped."""
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # a conversation can be long
    # strict: a lone quote is a fault, never a text that silently lost it.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
    rows: list[tuple[int, list[str], str]] = []
    line = 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return rows
        except csv.Error as error:
            rows.append((line, [], f"line: expected cells whose quotes are doubled and closed ({error})"))
        else:
            if cells:
                rows.append((line, cells, ""))
        line = reader.line_num + 1


def _check_header(where: str, header: Sequence[str], problem: str) -> None:
    if problem:
        raise DataError(f"{where}: header {problem}")
    twice = next((name for k, name in enumerate(header) if name and name in header[:k]), None)
    if twice is not None:
        raise DataError(f"{where}: header: expected different column names, got {twice!r} twice")


def _mostly_json(cells: Sequence[str]) -> bool:
    given = [cell for cell in cells if cell]
    return 2 * sum(_is_json(cell) for cell in given) > len(given)


def _is_json(cell: str) -> bool:
    return isinstance(_parse(cell), list | dict)


def _parse(cell: str) -> Any:
    if not cell.lstrip().startswith(("[", "{")):
        return None
    try:
        return parse_json(cell)
    except ValueError:
        return None


def _row(
    line: int, cells: list[str], problem: str, header: Sequence[str], named: Sequence[int], as_json: set[int]
) -> Parsed:
    if problem:
        return line, None, problem
    if len(cells) != len(header):
        return line, None, f"line: expected {len(header)} cells, as the header has, got {len(cells)}"
    values: dict[str, Any] = {}
    for k in named:
        value: Any = _parse(cells[k]) if k in as_json else Cell(cells[k])
        if cells[k] and value is None:
            return line, None, f"{header[k]}: expected JSON, as in most cells of this column, got {cells[k][:40]!r}"
        values[header[k]] = value if cells[k] else None
    return line, values, ""
