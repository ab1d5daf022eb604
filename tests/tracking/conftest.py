"""The model and the lists of the run tests."""

from tests.training.conftest import lists, llama, one_thread

__all__ = ["lists", "llama", "one_thread"]
