"""tuna.training.fit: who keeps the records of a run."""

from pathlib import Path
from typing import Any

import pytest

from tuna.runs import RunFolder
from tuna.training import distributed, fit


def test_other_processes_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    monkeypatch.setattr(distributed, "agree", lambda value: value)
    nothing: Any = None
    with fit._recorded(nothing, RunFolder(tmp_path / "run", "run")) as record:
        assert record.loggers == []
    assert not list(tmp_path.iterdir())
