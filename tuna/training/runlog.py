"""The messages of a run: to the screen, and with their time to log.txt."""

import logging
import sys
from pathlib import Path

from tuna.secrets import mask_words

log = logging.getLogger("tuna")


class _Masked(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return mask_words(super().format(record))


def open_log(path: Path) -> None:
    """The run's messages go to the screen and to log.txt."""
    close_log()
    log.setLevel(logging.DEBUG)
    log.propagate = False
    screen = logging.StreamHandler(sys.stdout)
    screen.setLevel(logging.INFO)
    screen.setFormatter(_Masked("%(message)s"))
    file = logging.FileHandler(path, encoding="utf-8")
    file.setFormatter(_Masked("%(asctime)s %(message)s"))
    log.addHandler(screen)
    log.addHandler(file)


def close_log() -> None:
    """No more messages of this run."""
    for handler in list(log.handlers):
        log.removeHandler(handler)
        if isinstance(handler, logging.FileHandler):
            handler.close()
