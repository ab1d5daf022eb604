"""The pages on ranking: their examples run. tests/test_docs.py looks at their commands."""

import doctest
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(("page", "least"), [("ranking.md", 6), ("comparisons.md", 10)])
def test_examples_run(page: str, least: int) -> None:
    result = doctest.testfile(str(DOCS / page), module_relative=False)
    assert result.attempted >= least and result.failed == 0
