"""Ctrl-C during training and validation ends the run, wherever in them it arrives."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as pl


class _Heard(pl.Callback):
    """Raises at the end of the batch what Python dropped: a KeyboardInterrupt inside ``__del__`` or a weakref's
    callback is printed and ignored."""

    def __init__(self) -> None:
        self.asked = False

    def hear(self, number: int, frame: Any) -> None:
        self.asked = True
        signal.default_int_handler(number, frame)

    def on_train_batch_end(self, *_: Any) -> None:
        self._check()

    def on_validation_batch_end(self, *_: Any) -> None:
        self._check()

    def _check(self) -> None:
        if self.asked:
            self.asked = False
            raise KeyboardInterrupt


@contextmanager
def interruptible(trainer: pl.Trainer) -> Iterator[None]:
    """Within it, Ctrl-C leaves a call of the trainer as a KeyboardInterrupt, at the end of the batch at the latest.

    Lightning would answer with exit code 1 and ignore Ctrl-C from then on.
    """
    heard = _Heard()
    ours = (  # else somebody ignores Ctrl-C, answers it, or runs us in a thread of theirs
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    try:
        trainer.callbacks.append(heard)  # type: ignore[attr-defined]
        if ours:
            signal.signal(signal.SIGINT, heard.hear)
        yield
        heard._check()
    except SystemExit:
        if not trainer.interrupted:
            raise
        raise KeyboardInterrupt from None
    except Exception:
        if not heard.asked:
            raise
        raise KeyboardInterrupt from None  # what was interrupted made a fault of it, or another process ended first
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        trainer.callbacks.remove(heard)  # type: ignore[attr-defined]
