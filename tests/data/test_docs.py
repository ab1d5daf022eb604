"""The page on data: its examples run, its record and its errors are real."""

import doctest
import json
import re
from pathlib import Path

import pytest

from tests.data.make import write
from tuna.data.load import Source, load_source, load_sources
from tuna.errors import DataError

PAGE = Path(__file__).parents[2] / "docs" / "data.md"


def test_examples_run() -> None:
    result = doctest.testfile(str(PAGE), module_relative=False)
    assert result.attempted > 10 and result.failed == 0


def test_the_record_is_one(tmp_path: Path) -> None:
    text = re.findall(r"```json\n(.*?)\n```", PAGE.read_text(), re.DOTALL)[0]
    for rule in ("score", "eq3"):
        loaded = load_source(Source(write(tmp_path / "a.jsonl", [json.loads(text)]), rule))
        assert not loaded.problems and len(loaded.records) == 1


def test_the_errors_are_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    two = [{"text": "a", "score": 1}, {"text": "b", "score": 0}]
    base = {"instruction": "Add.", "output": "3", "responses": two}
    bad = [{"text": "a", "score": float("nan")}, two[1]]
    without = {key: value for key, value in base.items() if key != "output"}
    rows = [base, "{no json", base | {"responses": two[:1]}, base | {"responses": bad}, base, without]
    write(tmp_path / "a.jsonl", rows)
    with pytest.raises(DataError) as fault:
        load_sources([Source("a.jsonl")], "error")
    assert f"```text\n{fault.value}\n```" in PAGE.read_text()
