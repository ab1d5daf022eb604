"""Text files that are there whole or not at all, without secrets."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from tuna.secrets import mask


def write_text(path: Path, text: str) -> None:
    """Write ``text`` without secrets, so that a reader sees the old file or the new one, never half of one."""
    with replacing(path) as file:
        file.write(mask(text))


@contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """A file that takes the place of ``path`` once all is written to it; it masks nothing.

    A lone surrogate, which UTF-8 does not have, becomes the escape that JSON has for it.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", errors="backslashreplace") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
