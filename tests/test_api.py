"""The public Python API against the one that is written down: a change is seen, and made on purpose."""

from difflib import unified_diff
from pathlib import Path

import pytest

from tools import api

WRITTEN = Path(__file__).with_name("api.txt")


def test_the_public_api_is_the_one_that_is_written_down() -> None:
    old, new = WRITTEN.read_text(encoding="utf-8").split("\n"), api.text().split("\n")
    changed = "\n".join(unified_diff(old, new, "tests/api.txt", "the code", n=0, lineterm=""))
    assert not changed, f"{changed}\nNext: if that is meant, make api, and say so in CHANGELOG.md"


def test_a_name_is_told_by_what_it_takes_and_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "api.md").write_text("::: shop\n    options:\n      members: [Till, Money, pay]\n")
    (tmp_path / "shop.py").write_text(
        "from other import Till\n\nMoney = float\n\n\ndef pay(much: Money, *, to='me') -> None:\n    1 / 0\n"
    )
    (tmp_path / "other.py").write_text(
        "class Till(Box, metaclass=Meta):\n    full: bool = False\n    _own = 1\n\n"
        "    def __init__(self) -> None: ...\n    @property\n    def sum(self) -> float: ...\n"
        "    def _count(self): ...\n"
    )
    monkeypatch.setattr(api, "ROOT", tmp_path)
    assert api.text().split("\n")[1:] == [
        "",
        "shop",
        "  class Till(Box, Meta)",
        "    full: bool = False",
        "    def __init__(self) -> None",
        "    @property def sum(self) -> float",
        "  Money = float",
        "  def pay(much: Money, *, to='me') -> None",
        "",
    ]
