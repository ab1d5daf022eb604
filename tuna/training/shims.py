"""What Lightning does not do by itself: keep quiet, answer Ctrl-C, go on at a step."""

import logging
import os
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as pl
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from transformers.utils.logging import disable_progress_bar

from tuna.signals import by_interrupt

_DELIBERATE = (  # warnings about choices that are deliberate
    r".*does not have many workers.*",  # batches are made from tokens in memory
    r".*The number of training batches .* is smaller than the logging interval.*",
    r".*GPU available but not used.*",
    r".*`gradient_checkpointing_enable` is deprecated.*",  # the new name is not in all supported versions
    r".*is an instance of `nn.Module` and is already saved.*",
    r".*Trying to infer the `batch_size`.*",
    r".*isinstance\(treespec, LeafSpec\).*",
    r".*`torch.jit.*` is deprecated.*",
    r".*experimental feature.*ModelParallelStrategy.*",
    r".*It is recommended to use `self.log\(.*sync_dist=True.*",  # the meter has summed over processes
    r".*torch.distributed is disabled, unavailable or uninitialized.*",  # one process saves its checkpoint alone
)


def quiet() -> None:
    """Keep libraries from talking over the run's own lines: tips, adverts and warnings that are handled here."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    for name in ("lightning.pytorch", "lightning.fabric", "torch.distributed", "transformers"):
        logging.getLogger(name).setLevel(logging.ERROR)
    disable_progress_bar()
    for message in _DELIBERATE:
        warnings.filterwarnings("ignore", message=message)


# The next three functions use names that are private in Lightning, as of 2.6.6 (pyproject.toml takes >=2.6, <3). With
# another version, tests/training/test_run.py (what resumes) and test_sharded.py say whether they still mean the same.
def start_at(trainer: pl.Trainer, step: int) -> None:
    """Have Lightning's loop count on from optimizer step ``step``; loggers and validation go by it."""
    loop = trainer.fit_loop.epoch_loop
    loop._batches_that_stepped = step
    loop.batch_progress.total.ready = step * trainer.accumulate_grad_batches
    loop.automatic_optimization.optim_progress.optimizer.step.total.completed = step


def validation_follows(trainer: pl.Trainer) -> bool:
    """Whether Lightning validates at the end of the batch that just ran."""
    fetcher = trainer.fit_loop._data_fetcher
    return fetcher is not None and trainer.fit_loop.epoch_loop._should_check_val_fx(fetcher)


def mesh_of(on_gpu: bool, sizes: tuple[int, int]) -> DeviceMesh:
    """The device mesh that Lightning's ModelParallelStrategy makes, without a Trainer's run."""
    return init_device_mesh("cuda" if on_gpu else "cpu", sizes, mesh_dim_names=("data_parallel", "tensor_parallel"))


class _Heard(pl.Callback):
    """Raises at the end of the batch what Python dropped: a KeyboardInterrupt inside ``__del__`` or a weakref's
    callback is printed and ignored."""

    asked = False

    def hear(self, number: int, frame: Any) -> None:
        self.asked = True
        signal.default_int_handler(number, frame)

    def check(self, *_: object) -> None:
        if self.asked:
            self.asked = False
            raise KeyboardInterrupt

    on_train_batch_end = on_validation_batch_end = check  # type: ignore[assignment]


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
        heard.check()
    except SystemExit:
        if not trainer.interrupted:
            raise
        raise KeyboardInterrupt from None
    except Exception as error:
        if not heard.asked and not by_interrupt(error):
            raise
        raise KeyboardInterrupt from None  # what was interrupted made a fault of it, or another process ended first
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        trainer.callbacks.remove(heard)  # type: ignore[attr-defined]
