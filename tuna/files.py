"""Files that are there whole or not at all, text files without secrets, and a lock that ends with its process."""

import errno
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from tuna.errors import RunError
from tuna.secrets import mask

log = logging.getLogger("tuna")
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # of a disk, or of what a user may have of it
_MENDED = (
    *FULL, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG,
)  # fmt: skip


def write_text(path: Path, text: str) -> None:
    """Write ``text`` without secrets, so that a reader sees the old file or the new one, never half of one."""
    with replacing(path) as file:
        file.write(mask(text))


@contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """A text file that takes the place of ``path`` once all is written; lone surrogates become JSON's escapes."""
    with whole(path) as temporary, temporary.open("w", encoding="utf-8", errors="backslashreplace") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """The name of a temporary file, for writing, that takes the place of ``path`` at the end of the block."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        if error.filename is None:  # of a write
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def trouble_of(error: OSError) -> RunError | None:
    """What stands in the way of a file, for the user; None where it is none of the things that one can mend."""
    path = error.filename2 or error.filename
    if path is None or error.errno not in _MENDED:
        return None
    first = "free some space" if error.errno in FULL else "put that right, or move it away"
    return RunError(f"{path}: {error.strerror}; what was stored is kept. Next: {first}, then the same command")


@contextmanager
def locked(path: Path, *, busy: str, keys: str = "output=...", patience: float = float("inf")) -> Iterator[None]:
    """Hold the lock file ``path``, which is made. Where the file system has no locks, go on with a warning.

    busy: the message of the RunError where another process holds it for longer than ``patience`` seconds. One is raised
    where the file cannot be made, too, which names the ``keys`` that choose another folder.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    except OSError as error:
        where = path if path.is_dir() else path.parent
        raise RunError(f"{where}: cannot write to it ({error.strerror}); choose another with {keys}") from None
    with file:
        end = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise RunError(busy) from None
                time.sleep(0.05)
            except OSError as error:  # ENOSYS, ENOLCK, EOPNOTSUPP: as some parallel and FUSE file systems are mounted
                log.warning(
                    f"{path.parent}: its file system has no locks ({error.strerror}), so nothing keeps a second "
                    "process out: start no other with this folder"
                )
                break
        try:
            yield
        finally:
            with suppress(OSError):  # closing alone would leave it locked in a child that was forked meanwhile
                fcntl.flock(file, fcntl.LOCK_UN)
