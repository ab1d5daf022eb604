"""One process at a time: a lock on a file, which ends with the process that holds it, however that ends."""

import fcntl
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tuna.errors import RunError

log = logging.getLogger("tuna")


@contextmanager
def locked(path: Path, *, busy: str, patience: float = float("inf")) -> Iterator[None]:
    """Hold the lock file ``path``, which is made. Where the file system has no locks, go on with a warning.

    busy: the message where another process holds it for longer than ``patience`` seconds.

    Raises:
        RunError: it does; or the file cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    except OSError as error:
        raise RunError(f"{path.parent}: cannot write to it ({error.strerror}); choose a folder of yours") from None
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
