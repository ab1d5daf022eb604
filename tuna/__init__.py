"""Tuna: instruction tuning on ranked answers (EMNLP 2023) with PyTorch Lightning and Hydra."""

__version__ = "0.1.0"
