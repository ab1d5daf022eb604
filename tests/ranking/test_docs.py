"""The page on ranking: its examples run, its keys exist."""

import doctest
import re
from pathlib import Path

import pytest

from tuna.config.compose import compose

pytestmark = pytest.mark.once

PAGE = Path(__file__).parents[2] / "docs" / "ranking.md"


def test_examples_run() -> None:
    result = doctest.testfile(str(PAGE), module_relative=False)
    assert result.attempted > 5 and result.failed == 0


def test_commands_compose() -> None:
    text = PAGE.read_text().replace("\\\n", " ")
    commands = re.findall(r"^python rank\.py((?: +[+@\w.]+=\S+)*)", text, re.MULTILINE)
    assert len(commands) >= 6
    for words in commands:
        compose(words.split(), config_name="rank")
