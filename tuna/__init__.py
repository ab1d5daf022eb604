"""Tuna: instruction tuning on ranked answers (EMNLP 2023) with PyTorch Lightning and Hydra.

As a library (docs/library.ipynb): ``read`` a ranked file, ``load`` a model and score responses with it, take any
``loss``; ``tune``, ``rank`` and ``evaluate`` on the configs of the commands. Importing it imports nothing heavy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuna.api import Measured, Ranked, Tuned, evaluate, loss, rank, read, tune
    from tuna.data.record import Candidate, Record
    from tuna.errors import ConfigError, DataError, ModelError, RunError, TunaError
    from tuna.library import Model, Scored, load
    from tuna.losses.base import total

__version__ = "0.1.0"
__all__ = [
    "Candidate",
    "ConfigError",
    "DataError",
    "Measured",
    "Model",
    "ModelError",
    "Ranked",
    "Record",
    "RunError",
    "Scored",
    "TunaError",
    "Tuned",
    "evaluate",
    "load",
    "loss",
    "rank",
    "read",
    "total",
    "tune",
]  # fmt: skip
_MODULES = {
    "tuna.api": ("Measured", "Ranked", "Tuned", "evaluate", "loss", "rank", "read", "tune"),
    "tuna.data.record": ("Candidate", "Record"),
    "tuna.errors": ("ConfigError", "DataError", "ModelError", "RunError", "TunaError"),
    "tuna.library": ("Model", "Scored", "load"),
    "tuna.losses.base": ("total",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """What __all__ names, imported when it is first asked for."""
    if name not in _HOME:
        raise AttributeError(f"module 'tuna' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
