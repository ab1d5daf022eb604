"""Tune a model: ``python train.py stage=tuna_c loss.lambda=5``. Explains itself with ``--help``."""

from tuna.programs import TRAIN, start

__all__ = ["TRAIN"]

if __name__ == "__main__":
    start("train")
