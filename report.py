"""Tables, figures and one page from what is on disk: ``python report.py``. Explains itself with ``--help``."""

from tuna.programs import REPORT, start

__all__ = ["REPORT"]

if __name__ == "__main__":
    start("report")
