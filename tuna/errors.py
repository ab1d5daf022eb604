"""Faults that a user can mend: a message says where, what is wrong, what was expected, and what to do next."""

from collections.abc import Iterator
from contextlib import contextmanager

from tuna.console import as_typed


def writable(text: str) -> str:
    """A text that can be written as UTF-8: halves of surrogate pairs, which JSON can spell, as their escapes.

    >>> writable("a\\ud800")
    'a\\\\ud800'
    """
    return text.encode("utf-8", "backslashreplace").decode()


class TunaError(Exception):
    """Base of all faults whose message is meant for the user. ``exit_code``: how a command ends by it.

    Commands in the message (``python train.py``) are told as they are started here.
    """

    exit_code = 1

    def __init__(self, message: str = "") -> None:
        super().__init__(as_typed(writable(message)))


class ConfigError(TunaError):
    """A config key or value is wrong; several are joined by newlines."""


class DataError(TunaError):
    """A data file is wrong: ``file:line: field: expected ... got ...``."""


class ModelError(TunaError):
    """A model folder, tokenizer or architecture cannot be used."""


class NoModelError(ModelError):
    """A path names no model. key: the config key that holds the path; fault: what is wrong with it, what to do next."""

    def __init__(self, path: str, fault: str, key: str = "model.path") -> None:
        super().__init__(f"{key}={path}: {fault}")
        self.path, self.fault = path, fault


class RunError(TunaError):
    """The place a run writes to, or the run it should resume, is wrong."""


class OtherSettings(RunError):
    """What stands at that place was made with other settings, or from other data, than are asked for now."""

    exit_code = 5  # 3 and 4 are a training process's


class Faults:
    """Keeps the faults of checks that need not wait for one another, so that they are told together.

    >>> faults = Faults()
    >>> for text in ("a: wrong", "b: missing"):
    ...     with faults.kept():
    ...         raise DataError(text)
    >>> faults.check()
    Traceback (most recent call last):
    tuna.errors.ConfigError: a: wrong
    b: missing
    """

    def __init__(self) -> None:
        self.found: list[TunaError] = []

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep a fault of the block, which ends there."""
        try:
            yield
        except TunaError as error:
            self.found.append(error)

    def check(self) -> None:
        """Raise the one that was kept, or of several a ConfigError with all of them."""
        if len(self.found) == 1:
            raise self.found[0]
        if self.found:
            raise ConfigError("\n".join(map(str, self.found)))
