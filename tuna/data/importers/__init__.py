"""Importers: one module a format, found by listing this folder. Add a file with ``IMPORTER`` and it is known."""

from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from tuna.data.importers.base import Importer
from tuna.errors import ConfigError, DataError

__all__ = ["Importer", "choose", "importers"]


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
    """The importer called ``name``; for "auto" the one that recognizes the first row that any recognizes.

    Raises: ConfigError for an unknown name; DataError when no row is recognized.
    """
    check_format(name)
    if name != "auto":
        return importers()[name]
    first: Any = None
    for row in rows:
        if isinstance(row, dict):
            first = first or row
            for importer in importers().values():
                if importer.recognize(row):
                    return importer
    formats = "; ".join(f"{i.name} ({i.fields})" for i in importers().values())
    got = f"fields {', '.join(map(str, first))}" if first else "no JSON object"
    raise DataError(f"{path}: expected a known format, got {got}. Known: {formats} (docs/data.md)")
