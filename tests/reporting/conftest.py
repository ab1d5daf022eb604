"""Reports look into ``runs``, ``rankings`` and ``results`` of the working folder: it is the test's own here."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's earlier runs are found."""
    monkeypatch.chdir(tmp_path)
