"""Collect ranked answers: ``python rank.py ranker=contextual judge=openai``. Explains itself with ``--help``."""

from tuna.programs import RANK, start

__all__ = ["RANK"]

if __name__ == "__main__":
    start("rank")
