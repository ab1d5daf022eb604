"""Folders of a user's own (``--config-dir``): their modules can be imported, here and in all processes started here."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path

FORMATS = "tuna_formats"  # a module of this name has importers of a user's own
_VARIABLE = "TUNA_PLUGINS"  # the folders, for child processes


def use(paths: Iterable[Path]) -> None:
    """Put each folder, and the one that holds it, at the end of the import path: nothing installed is hidden by it."""
    known = list(folders())
    wanted = [str(folder) for path in paths for folder in (path.resolve(), path.resolve().parent)]
    os.environ[_VARIABLE] = os.pathsep.join(dict.fromkeys([*known, *wanted]))
    _extend()


def folders() -> tuple[str, ...]:
    """The folders in use."""
    return tuple(filter(None, os.environ.get(_VARIABLE, "").split(os.pathsep)))


def _extend() -> None:
    sys.path += [folder for folder in folders() if folder not in sys.path]


_extend()
