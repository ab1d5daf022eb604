"""Importers: every ``@importer`` function in a file of this folder is a format, found by listing the folder."""

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from importlib import import_module
from importlib.util import find_spec
from operator import itemgetter
from pkgutil import iter_modules
from typing import Any

from tuna import plugins
from tuna.console import nearest
from tuna.data.fields import FieldError, RowError
from tuna.data.files import key_beside
from tuna.data.importers.base import Imported, Importer, Notes, known, missing, outer, shape_of, there, words
from tuna.data.record import Record
from tuna.data.rows import Row
from tuna.errors import ConfigError, DataError

__all__ = ["Imported", "Importer", "check_format", "choose", "importers", "recognize", "records"]


def importers() -> dict[str, Importer]:
    """All importers by name, and those of a module ``tuna_formats`` of the user's own."""
    return _importers(plugins.folders())


@cache
def _importers(_: object) -> dict[str, Importer]:
    names = [f"{__name__}.{info.name}" for info in iter_modules(__path__)]
    try:
        own = [plugins.FORMATS] if find_spec(plugins.FORMATS) else []
        modules = [import_module(name) for name in [*names, *own]]
    except Exception as error:
        raise ConfigError(f"{plugins.FORMATS}: cannot be imported: {type(error).__name__}: {error}") from error
    found = {i.name: i for module in modules for i in vars(module).values() if isinstance(i, Importer)}
    return dict(sorted(found.items()))


def check_format(name: str, key: str = "format") -> None:
    """Raises: ConfigError when no importer has this name."""
    names = ["auto", *importers()]
    if name not in names:
        raise ConfigError(f"{key}: expected one of {', '.join(names)}, got {name!r}{nearest(name, names)}")


def recognize(row: object) -> tuple[Importer | None, str]:
    """The format of a row by its whole shape; or None, and what is missing where it looks like one.

    Of the formats whose required keys a row has, the one that knows most of its keys is taken, then the one that
    requires more. Where it has no word for what another of them requires, or where a third knows still more but for one
    key that is missing, the row is taken for nothing.
    """
    name, problem = _recognized(frozenset(shape_of(row).items()), plugins.folders())
    return (importers()[name] if name else None), problem


@lru_cache(maxsize=4096)
def _recognized(shape: frozenset[tuple[str, frozenset[frozenset[str]]]], _: object) -> tuple[str, str]:
    row = dict(shape)
    whole: list[tuple[int, Importer]] = []
    near: list[tuple[int, str]] = []
    for importer in importers().values():
        lacks = missing(row, importer.required)
        knows = known(row, importer.keys)
        if not lacks:
            whole.append((knows, importer))
        elif len(lacks) == 1 and (len(importer.required) > 1 or knows > 1):
            # A required key whose value is of another kind was meant as this format's all the same.
            meant = sum(there(row, names) for names in importer.required if outer(names) in lacks)
            near.append((knows + meant, f"looks like {importer.name} but {next(iter(lacks.values()))}"))
    most, best = max(whole, key=lambda found: (found[0], len(found[1].required)), default=(0, None))
    like, problem = max(near, key=itemgetter(0), default=(0, ""))
    if best is None or like > most:
        return "", problem
    for _, other in whole:
        if any(there(row, name) for name in words(other.required) - words(best.keys)):
            return "", f"looks like {best.name} and like {other.name}, so its format has to be named"
    return best.name, ""


def choose(name: str, rows: Iterable[Any], path: str, key: str = "") -> Importer:
    """The importer called ``name``; for "auto" the one that recognizes the first row that any recognizes.

    Where other rows are of a format with all these keys and more (rows with answers after rows without), it is that.
    Raises: ConfigError for an unknown name; DataError when no row is recognized.
    """
    check_format(name)
    if name != "auto":
        return importers()[name]
    objects = [row for row in rows if isinstance(row, dict)]
    found = [recognize(row) for row in objects]
    formats = list({importer.name: importer for importer, _ in found if importer is not None}.values())
    wide = (each for each in formats if all(words(other.required) <= words(each.keys) for other in formats))
    if formats:
        return next(wide, formats[0])
    ways = [f"name its format by {told}"] if (told := key_beside(key, "format")) else []
    if told := key_beside(key, "columns"):
        ways.append(f"name its columns by {told}={{instruction: q, responses: outs, text: t, score: s}}")
    looks = next((problem for _, problem in found if problem), "")
    got = f"fields {', '.join(map(str, objects[0]))}" if objects else "no JSON object"
    fields = {i.name: ", ".join(i.required).replace("|", " or ") for i in importers().values()}
    all_known = ", ".join(fields) if looks else "; ".join(f"{name} ({keys})" for name, keys in fields.items())
    raise DataError(
        f"{path}: expected a known format, got {got}{', which ' + looks if looks else ''}. Known: {all_known} "
        f"(docs/data.md); next: {', or '.join(['mend the file', *ways])}"
    )


def records(
    importer: Importer, rows: Iterable[tuple[int, Row]], notes: Notes, *, auto: bool = True
) -> Iterator[Imported]:
    """Each row's record, or what is wrong with the row; for formats with one row per answer, the joined lists.

    rows: each with its place in the file. auto: the format was recognized, not named, so every row must be of it.
    """
    good: list[Record] = []
    for index, row in rows:
        counted: Notes = Counter()
        try:
            record = _read(importer, row, index, counted, auto)
        except FieldError as error:
            yield row.where, error
            continue
        notes.update(counted)
        if importer.join is None:
            yield row.where, record
        good.append(record)
    if importer.join is not None:
        yield from importer.join(good, notes)


def _read(importer: Importer, row: Row, index: int, notes: Notes, auto: bool) -> Record:
    if row.fault is not None:
        raise row.fault
    if not isinstance(row.value, dict):
        raise FieldError("line", "a JSON object", row.value)
    found, problem = recognize(row.value) if auto else (importer, "")
    if found is not None and found is not importer:
        shape = shape_of(row.value)
        if known(shape, found.keys) > known(shape, importer.keys):
            raise RowError(
                f"line: expected a row of format {importer.name}, as the file begins",
                f", got one of {found.name}",
                f"where all rows are meant so: datamodule.format={importer.name}",
            )
    record = importer.read(row.value, row.where, index, notes)
    if problem:
        raise RowError(f"line: {problem}")
    if not record.messages and not record.instruction.strip() and not record.input.strip():
        raise FieldError("instruction", "some text", record.instruction)
    return record
