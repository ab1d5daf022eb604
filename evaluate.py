"""Measure a model: ``python evaluate.py benchmark=lmentry model.path=runs/a``. Explains itself with ``--help``."""

from tuna.programs import EVALUATE, start

__all__ = ["EVALUATE"]

if __name__ == "__main__":
    start("evaluate")
