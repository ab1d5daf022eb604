"""The table of rooms in docs/architecture.md says which imports which; the code has to agree, both ways."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROW = re.compile(r"^\| `tuna/([a-z_/]+)(?:\.py)?` \| .* \| (.*) \|$", re.M)


def documented() -> dict[str, set[str]]:
    """For each room of the table, the rooms that it says it imports."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    return {
        room.rstrip("/"): {name.strip() for name in names.split(",")} - {"nothing"} for room, names in ROW.findall(page)
    }


@cache
def actual() -> dict[str, set[str]]:
    """For each folder or file of tuna/, the others that any line of it imports, imports for type checking too."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "tuna").rglob("*.py")):
        parts = path.relative_to(ROOT / "tuna").with_suffix("").parts
        if parts == ("__init__",) or parts[-1] == "__main__":  # python -m tuna.data is a command, as train.py is
            continue
        names = found.setdefault(parts[0], set())
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                modules = [node.module] if node.module != "tuna" else [f"tuna.{a.name}" for a in node.names]
            elif isinstance(node, ast.Import):
                modules = [a.name for a in node.names]
            else:
                continue
            names.update(m.split(".")[1] for m in modules if m.startswith("tuna."))
        names.discard(parts[0])
        names.discard("__version__")
    return found


@pytest.mark.parametrize("room", sorted(actual()))
def test_a_room_imports_what_the_page_says(room: str) -> None:
    assert documented().get(room) == actual()[room]


def reached(room: str) -> set[str]:
    """The rooms that a room imports, and those that these import, and so on."""
    found: set[str] = set()
    new = {room}
    while new:
        new = {name for each in new for name in actual()[each]} - found
        found |= new
    return found


def test_no_room_imports_itself_through_others() -> None:
    assert [room for room in actual() if room in reached(room)] == []


@pytest.mark.parametrize(
    ("room", "never"),
    [
        ("evaluation", {"ranking", "training"}),
        ("reporting", {"ranking", "training"}),
        ("ranking", {"training", "modules", "datamodules"}),
        ("inference", {"judges", "ranking", "evaluation"}),
        ("data", {"models", "config"}),
    ],
)
def test_what_a_room_does_without(room: str, never: set[str]) -> None:
    assert reached(room) & never == set()
