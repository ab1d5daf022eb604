"""All trials, those of every file in this folder that has ``TRIALS``; and running them side by side."""

import importlib
import multiprocessing
import pkgutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import perf.faults
from perf.faults.base import Result, Trial, perform


def every_trial() -> list[Trial]:
    """In the order of the files' names.

    Raises:
        ValueError: two trials of one kind have one name.
    """
    modules = [
        importlib.import_module(f"perf.faults.{found.name}")
        for found in pkgutil.iter_modules(perf.faults.__path__)
        if found.name not in ("__main__", "base", "trials")
    ]
    trials: list[Trial] = [trial for module in modules for trial in getattr(module, "TRIALS", ())]
    named = [(trial.kind, trial.name) for trial in trials]
    if twice := sorted({name for name in named if named.count(name) > 1}):
        raise ValueError(f"two trials of one name: {twice}")
    return trials


def performed(trials: Sequence[Trial], folder: Path, jobs: int) -> Iterator[Result]:
    """The results in the trials' order, ``jobs`` trials at once, in processes of their own."""
    places = [folder / f"{number:03}" for number in range(1, len(trials) + 1)]
    if jobs == 1:
        yield from map(perform, trials, places)
        return
    index = {(trial.kind, trial.name): number for number, trial in enumerate(every_trial())}
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        numbers = [index[trial.kind, trial.name] for trial in trials]
        for trial, (seconds, broken) in zip(trials, pool.map(_numbered, numbers, places), strict=True):
            yield Result(trial, seconds, broken)


def _numbered(number: int, folder: Path) -> tuple[float, tuple[tuple[str, str], ...]]:
    result = perform(every_trial()[number], folder)
    return result.seconds, result.broken
