"""The paper end to end: ``python reproduce.py``. Every step is an ordinary command. Explains itself with ``--help``."""

from tuna.programs import REPRODUCE, start

__all__ = ["REPRODUCE"]

if __name__ == "__main__":
    start("reproduce")
