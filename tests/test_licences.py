"""docs/licences.md names what pyproject.toml does, docs/architecture.md says why."""

from email.message import Message
from pathlib import Path

import pytest

from tools.licences import direct, licence, pinned, reasons

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
    ("fields", "said"),
    [
        ([("License-Expression", "MIT"), ("License", "no")], "MIT"),
        ([("License", "long text"), ("Classifier", "License :: OSI Approved :: BSD License")], "BSD License"),
        ([("License", "Apache 2.0\nSection 1"), ("Classifier", "Typing :: Typed")], "Apache 2.0"),
        ([("Name", "x")], "not said"),
    ],
)
def test_a_licence_is_what_the_metadata_names(fields: list[tuple[str, str]], said: str) -> None:
    about = Message()
    for name, value in fields:
        about[name] = value
    assert licence(about) == said
    of_pip = {"license_expression": "ISC", "classifier": []}
    assert licence(of_pip) == "ISC"
