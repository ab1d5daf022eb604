"""The benchmarks' pages: their examples run, their commands' keys exist."""

import doctest
import shlex
from pathlib import Path

import pytest

from tuna.config.compose import compose

PAGES = Path(__file__).parents[2] / "docs" / "benchmarks"


@pytest.mark.parametrize("name", ["vicuna_qa", "human_study", "super_ni", "lmentry", "judge"])
def test_examples_run_and_commands_compose(name: str) -> None:
    page = PAGES / f"{name}.md"
    result = doctest.testfile(str(page), module_relative=False)
    assert result.attempted >= 2 and result.failed == 0
    commands = [line for line in page.read_text().splitlines() if line.startswith("    python evaluate.py ")]
    assert len(commands) >= 3
    for line in commands:
        compose(shlex.split(line)[2:], config_name="evaluate")
