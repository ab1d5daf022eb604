"""Importers: one module a format, found by listing this folder. Add a file with ``IMPORTER`` and it is known."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from tuna.data.fields import FieldError
from tuna.data.files import Row
from tuna.data.importers.base import KINDS, QUESTION, Imported, Importer
from tuna.data.record import Record
from tuna.errors import ConfigError, DataError

__all__ = ["Importer", "choose", "importers", "read_all", "recognized"]


@cache
def importers() -> dict[str, Importer]:
    """All importers by name.

    >>> sorted(importers())
    ['alpaca', 'davinci', 'formatted', 'gpt4_ranking', 'pairs', 'tuna']
    """
    modules = [import_module(f"{__name__}.{info.name}") for info in iter_modules(__path__)]
    found = [module.IMPORTER for module in modules if hasattr(module, "IMPORTER")]
    return {importer.name: importer for importer in found}


def check_format(name: str, key: str = "format") -> None:
    """Raises: ConfigError when no importer has this name."""
    known = ["auto", *sorted(importers())]
    if name not in known:
        near = get_close_matches(name, known, n=1)
        raise ConfigError(f"{key}: expected one of {', '.join(known)}, got {name!r}" + _nearest(near))


def _nearest(near: list[str]) -> str:
    return f"; nearest: {near[0]}" if near else ""


def choose(name: str, rows: Iterable[Any], path: str) -> Importer:
    """The importer called ``name``; for "auto" the one that explains most of the first row that any explains.

    Raises: ConfigError for an unknown name; DataError when no row is explained, or two formats explain one equally.
    """
    check_format(name)
    if name != "auto":
        return importers()[name]
    first: Any = None
    for row in rows:
        if isinstance(row, dict):
            first = first or row
            if found := recognized(row):
                if len(found) > 1:
                    names = ", ".join(importer.name for importer in found)
                    raise DataError(f"{path}: its rows can be read as {names}; next: datamodule.format={found[0].name}")
                return found[0]
    raise DataError(_unknown(path, first))


def recognized(row: Any) -> list[Importer]:
    """The importers that explain most of a row, by its whole shape; none where a key speaks for another format."""
    if not isinstance(row, Mapping):
        return []
    fits = [i for i in importers().values() if i.weight(row) and not foreign(row, i)]
    most = max((i.weight(row) for i in fits), default=0)
    return [i for i in fits if i.weight(row) == most]


def foreign(row: Mapping[str, Any], importer: Importer) -> list[str]:
    """Keys of a row that hold answers or marks of another format, which this one would leave unread."""
    return sorted(
        key
        for key, value in row.items()
        if key not in importer.keys and any(KINDS[kind](value) for kind in _answer_keys().get(key, ()))
    )


@cache
def _answer_keys() -> dict[str, set[str]]:
    """Key -> its kinds, of all keys that some format requires and that hold no question."""
    found: dict[str, set[str]] = {}
    for importer in importers().values():
        for shape in importer.shapes:
            for key, kind in shape.required.items():
                if key not in QUESTION:
                    found.setdefault(key, set()).add(kind)
    return found


def read_all(importer: Importer, rows: Iterable[tuple[int, Row]], *, strict: bool) -> list[Imported]:
    """The records of a file's rows (each with its place in the file), joined into lists where the format says so.

    strict: the format was recognized and not named, so a row of another shape is a fault.
    """
    found = [(row.where, _record(importer, row, index, strict)) for index, row in rows]
    return list(importer.join(found)) if importer.join else found


def _record(importer: Importer, row: Row, index: int, strict: bool) -> Record | FieldError:
    try:
        if row.problem:
            raise _Broken(row.problem)
        if not isinstance(row.value, dict):
            raise FieldError("line", "a JSON object", row.value)
        record = importer.read(row.value, row.where, index)
        if not record.messages and not record.instruction.strip() and not record.input.strip():
            raise FieldError("instruction", "some text", record.instruction)
        if strict and (fault := importer.problem(row.value)):
            raise fault
        if strict and (odd := foreign(row.value, importer)):
            raise FieldError(odd[0], f"no such key in a row of format {importer.name}", row.value[odd[0]])
        return record
    except FieldError as error:
        return error


class _Broken(FieldError):
    def __init__(self, problem: str) -> None:
        Exception.__init__(self, problem)
        self.reason = problem.partition(", got")[0]


def _unknown(path: str, row: Any) -> str:
    columns = "; next: datamodule.columns={instruction: COLUMN, responses: COLUMN, ...} for a layout of your own"
    if not row:
        return f"{path}: expected rows of a known format, got no JSON object (docs/data.md)"
    near = max(importers().values(), key=lambda importer: max(shape.near(row) for shape in importer.shapes))
    got = f"{path}: expected rows of a known format, got the keys {', '.join(map(str, row))}"
    if max(shape.near(row) for shape in near.shapes) <= 0:
        names = ", ".join(sorted(importers()))
        return f"{got}. Known formats: {names} (docs/data.md){columns}"
    fault = near.problem(row)
    odd = foreign(row, near)
    why = f"{fault}" if fault else f"the keys {', '.join(odd)} belong to other formats"
    return f"{got}. Nearest is {near.name} ({near.fields}): {why}; format={near.name} takes it for that{columns}"
