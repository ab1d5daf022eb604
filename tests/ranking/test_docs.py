"""The pages on ranking and judging: their examples run, their keys exist."""

import doctest
import re
from pathlib import Path

import pytest

from tuna.config.compose import compose

pytestmark = pytest.mark.once

DOCS = Path(__file__).parents[2] / "docs"


def test_examples_run() -> None:
    result = doctest.testfile(str(DOCS / "ranking.md"), module_relative=False)
    assert result.attempted > 5 and result.failed == 0


@pytest.mark.parametrize(("page", "least"), [("ranking.md", 6), ("judging.md", 4)])
def test_commands_compose(page: str, least: int) -> None:
    text = (DOCS / page).read_text().replace("\\\n", " ")
    commands = re.findall(r"^python rank\.py((?: +[+@\w.]+=\S+)*)", text, re.MULTILINE)
    assert len(commands) >= least
    for words in commands:
        compose(words.split(), config_name="rank")
