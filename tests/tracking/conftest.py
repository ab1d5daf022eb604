"""The model and the lists of the run tests, which these tests train on too."""

from tests.training.conftest import lists, llama, one_thread

__all__ = ["lists", "llama", "one_thread"]
