"""Text files: whole or not at all, and masked."""

from pathlib import Path

import pytest

from tuna import secrets
from tuna.files import replacing, write_text


def test_a_file_is_the_old_one_until_all_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError), replacing(path) as file:
        file.write("new")
        raise ZeroDivisionError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_secrets_are_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "Zq8Vt3LmX0pW7bRn")
    secrets.refresh()
    write_text(tmp_path / "a.txt", "key: Zq8Vt3LmX0pW\n")
    assert (tmp_path / "a.txt").read_text() == "key: <hidden>\n"
