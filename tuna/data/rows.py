"""The rows of one file: JSONL, JSON, CSV, TSV or Parquet, told by its content before its name."""

import codecs
import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuna.data.fields import Cell, FieldError, RowError, parse_json
from tuna.errors import DataError


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it stands in the file. ``fault`` is set when it could not be read at all."""

    where: str  # "file:line" in JSONL, CSV and TSV, "file:row" (from 1) elsewhere
    value: Any
    fault: FieldError | None = None

    @property
    def problem(self) -> str:
        """What is wrong with the row, "" where nothing is."""
        return "" if self.fault is None else str(self.fault)


def parse_rows(path: str, data: bytes) -> list[Row]:
    """The rows of a file, told by its content before its name. Raises: DataError where the whole cannot be read."""
    if is_pointer(data):
        raise DataError(f"{path}: expected the data, got a Git-LFS pointer to it; next: git lfs pull, where it lies")
    if data[:2] == b"\x1f\x8b":
        raise DataError(f"{path}: expected JSONL, JSON, CSV, TSV or Parquet, got gzip; next: gunzip {path}")
    head = data.removeprefix(codecs.BOM_UTF8).lstrip()[:1]
    suffix = Path(path).suffix.lower()
    if not head:
        return []
    if data[:4] == b"PAR1" or suffix == ".parquet":
        return _parquet(path, data)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        expected = "UTF-8 text (JSONL, JSON, CSV, TSV) or Parquet"
        raise DataError(f"{path}:{line}: expected {expected}, got other bytes") from None
    if head == b"[":
        return _json(path, text)
    if suffix in (".csv", ".tsv") and head != b"{":
        return read_delimited(path, text, tabs=suffix == ".tsv")
    return _jsonl(path, text)


def is_pointer(head: bytes) -> bool:
    """Whether a file that begins so is what Git leaves in place of a large file until ``git lfs pull``."""
    return head.startswith(b"version https://git-lfs.github.com/spec/")


def numbered(path: str, values: Iterable[Any]) -> list[Row]:
    """Rows with their places, counted from 1."""
    return [Row(f"{path}:{number}", value) for number, value in enumerate(values, start=1)]


def _jsonl(path: str, text: str) -> list[Row]:
    rows = []
    # Only \n ends a line: str.splitlines would also split at U+2028 inside a string.
    for row in numbered(path, text.split("\n")):
        if row.value.strip():
            try:
                rows.append(Row(row.where, parse_json(row.value)))
            except ValueError as error:
                rows.append(Row(row.where, None, FieldError("line", "JSON", row.value, str(error))))
    return rows


def _json(path: str, text: str) -> list[Row]:
    try:
        return numbered(path, parse_json(text))
    except ValueError as error:
        line = getattr(error, "lineno", 1)
        raise DataError(f"{path}:{line}: expected a JSON list of objects, got broken JSON ({error})") from None


def _parquet(path: str, data: bytes) -> list[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return numbered(path, pq.read_table(pa.BufferReader(data)).to_pylist())
    except Exception as error:  # Arrow's own, and OSError, UnicodeDecodeError, OverflowError of damaged pages
        told = str(error).partition("\n")[0] or type(error).__name__
        raise DataError(f"{path}: expected a Parquet file, got one that cannot be read ({told})") from None


def read_delimited(path: str, text: str, *, tabs: bool) -> list[Row]:
    """The rows of a CSV file (tabs: a TSV file), whose first line names the columns.

    A cell is text (see ``Cell``), an empty one None. A column most of whose cells are JSON lists or objects is read as
    JSON. A column without a name, as pandas writes for its index, is left out. A CSV file may have semicolons or tabs
    between its cells: the header line decides. Raises: DataError for a header that cannot be used.
    """
    header, *rows = _cells(path, text, "\t" if tabs else max(",;\t", key=text.partition("\n")[0].count))
    if header.fault:
        raise DataError(f"{header.where}: header {header.fault}")
    names: list[str] = header.value
    twice = next((name for k, name in enumerate(names) if name and name in names[:k]), None)
    if twice is not None:
        raise DataError(f"{header.where}: header: expected different column names, got {twice!r} twice")
    whole = [row.value for row in rows if not row.fault and len(row.value) == len(names)]
    columns = [list(filter(None, cells)) for cells in zip(*whole, strict=True)] or [[]] * len(names)
    as_json = [2 * sum(_listed(cell) is not None for cell in cells) > len(cells) for cells in columns]
    return [row if row.fault else _by_column(row, names, as_json) for row in rows]


def _cells(path: str, text: str, mark: str) -> list[Row]:
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # a conversation can be long
    # strict: a lone quote is a fault, never a text that silently lost it.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
    rows: list[Row] = []
    while True:
        where = f"{path}:{reader.line_num + 1}"
        try:
            rows.append(Row(where, next(reader)))
        except StopIteration:
            return [row for row in rows if row.fault or row.value]
        except csv.Error as error:
            fault = RowError(f"line: expected cells whose quotes are doubled and closed ({error})")
            rows.append(Row(where, None, fault))


def _listed(cell: str) -> Any:
    """The list or object that a cell holds as JSON, else None."""
    try:
        return parse_json(cell) if cell.lstrip().startswith(("[", "{")) else None
    except ValueError:
        return None


def _by_column(row: Row, names: Sequence[str], as_json: Sequence[bool]) -> Row:
    if len(row.value) != len(names):
        return Row(row.where, None, FieldError("line", f"{len(names)} cells, as the header has", len(row.value)))
    values: dict[str, Any] = {}
    for name, cell, listed in zip(names, row.value, as_json, strict=True):
        values[name] = None if not cell else _listed(cell) if listed else Cell(cell)
        if name and cell and values[name] is None:
            return Row(row.where, None, FieldError(name, "JSON, as in most cells of this column", cell))
    values.pop("", None)
    return Row(row.where, values)
