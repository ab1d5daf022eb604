"""All trials: those of every file in this folder that has ``TRIALS``."""

import importlib
import pkgutil

import perf.faults
from perf.faults.base import Trial


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
