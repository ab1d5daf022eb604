"""docs/licences.md names what pyproject.toml does, docs/architecture.md says why."""

from pathlib import Path
from typing import Any

import pytest

from tools.licences import direct, licence, licences, pinned, reasons

PAGE = Path(__file__).parents[1] / "docs" / "licences.md"


def test_the_page_has_each_dependency_with_its_version_and_reason() -> None:
    page, versions, why = PAGE.read_text(encoding="utf-8"), pinned(), reasons()
    assert [name for name in direct() if name not in why] == [], "next: a row in docs/architecture.md"
    for name, extra in direct().items():
        row = next((line for line in page.split("\n") if line.startswith(f"| {name} | ")), "")
        cells = row.split(" | ")
        assert cells[1:3] == [extra, versions.get(name, "-")], "next: make licences"
        assert cells[3] not in ("", "not said") and cells[4] == f"{why[name]} |", "next: make licences"


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"license_expression": "MIT", "license": "no"}, "MIT"),
        ({"license": "long text", "classifier": ["License :: OSI Approved :: BSD License"]}, "BSD License"),
        ({"license": "Apache 2.0\nSection 1", "classifier": ["Typing :: Typed"]}, "Apache 2.0"),
        ({"name": "x"}, "not said"),
    ],
)
def test_a_licence_is_what_the_metadata_names(about: dict[str, Any], said: str) -> None:
    assert licence(about) == said


def test_a_package_that_is_here_is_asked_itself() -> None:
    assert licences(["pytest"]) == {"pytest": "MIT"}
