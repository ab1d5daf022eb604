"""Models of the chat fixtures, written once per session."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.chat.models import write_model
from tests.chat.templates import FIXTURES


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a fixture's tiny random model and tokenizer, by the fixture's name."""

    @cache
    def folder(name: str) -> Path:
        return write_model(FIXTURES[name], tmp_path_factory.mktemp("chat") / name)

    return folder
