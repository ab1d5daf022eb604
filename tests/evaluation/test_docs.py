"""The benchmarks' pages: their examples run. tests/test_docs.py looks at their commands."""

import doctest
from pathlib import Path

import pytest

PAGES = Path(__file__).parents[2] / "docs" / "benchmarks"


@pytest.mark.parametrize("name", ["vicuna_qa", "human_study", "super_ni", "lmentry", "judge"])
def test_examples_run(name: str) -> None:
    page = PAGES / f"{name}.md"
    result = doctest.testfile(str(page), module_relative=False)
    assert result.attempted >= 2 and result.failed == 0
