"""The model and the lists that the run tests share."""

import sys
from pathlib import Path

import pytest
import torch

from tests import warm
from tests.training.make import write_lists, write_model


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def forks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training processes that this one starts import nothing: see tests/warm.py."""
    monkeypatch.setattr(sys, "executable", warm.python())


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture(scope="session")
def lists(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_lists(tmp_path_factory.mktemp("data") / "lists.jsonl")
