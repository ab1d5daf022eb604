"""Columns of any kind become JSON by one rule each, counted; what cannot be is refused with its file and row."""

import json
import math
import re
from collections import Counter
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuna.data.fields import FieldError
from tuna.data.files import write_jsonl
from tuna.data.load import Loaded, Source, jsonable, load_questions
from tuna.data.record import Record
from tuna.errors import DataError


def read(path: Path) -> Loaded:
    return load_questions(Source(str(path), None, key="input"))


@pytest.mark.parametrize(
    ("value", "written", "note"),
    [
        (datetime(2026, 3, 1, 12, 30), "2026-03-01T12:30:00", "dates and times are ISO text"),
        (date(2026, 3, 1), "2026-03-01", "dates and times are ISO text"),
        (time(12, 30), "12:30:00", "dates and times are ISO text"),
        (timedelta(minutes=2), 120.0, "durations are seconds"),
        (Decimal("1.50"), "1.50", "decimals are text"),
        (b"\xff", "/w==", "bytes are base64"),
        (math.nan, None, "numbers that are not finite are null"),
        (math.inf, None, "numbers that are not finite are null"),
        ([{"a": b"x"}], [{"a": "eA=="}], "bytes are base64"),
        ({"a": [1, None], "b": {"c": True}}, {"a": [1, None], "b": {"c": True}}, None),
    ],
)
def test_a_parquet_column_of_any_kind(tmp_path: Path, value: Any, written: Any, note: str | None) -> None:
    pq.write_table(pa.table({"instruction": ["Q"], "odd": pa.array([value])}), tmp_path / "in.parquet")
    found = read(tmp_path / "in.parquet")
    assert found.records[0].extra == {"odd": written}
    assert found.notes == ([f"{tmp_path / 'in.parquet'}: column 'odd': {note}: 1"] if note else [])


def test_every_kind_of_json_and_what_it_only_almost_is(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text(
        '{"instruction": "Q", "a": NaN, "b": {"c": [-Infinity, 1]}, "\\ud800": "\\ud800", "d": 1e400}\n'
    )
    found = read(tmp_path / "in.jsonl")
    assert found.records[0].extra == {"a": None, "b": {"c": [None, 1]}, "\ud800": "\ud800", "d": None}
    assert [note.rpartition(": ")[2] for note in found.notes] == ["1", "1", "1"]
    write_jsonl(tmp_path / "out.jsonl", [found.records[0].extra])  # a lone surrogate as the escape that it was
    assert json.loads((tmp_path / "out.jsonl").read_text(encoding="utf-8")) == found.records[0].extra


def test_messages_and_tools_are_made_writable_too() -> None:
    changed: Counter[tuple[str, str]] = Counter()
    tool = {"name": "f", "since": date(2026, 1, 1)}
    record = jsonable(
        Record("0", "Q", messages=({"role": "user", "content": "Q", "x": math.nan},), tools=(tool,)), changed
    )
    assert record.messages[0]["x"] is None and record.tools[0]["since"] == "2026-01-01"
    assert len(changed) == 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"instruction": "Q", "id": "\\ud800"}', "id: expected valid Unicode text"),
        ('{"instruction": "\\udc00"}', "instruction: expected valid Unicode text"),
        ('{"instruction": "Q", "input": "\\ud800"}', "input: expected valid Unicode text"),
        ('{"instruction": "Q", "tools": [{"name": "\\ud800"}]}', "tools: expected valid Unicode text"),
        ('{"instruction": "Q", "deep": ' + "[" * 600 + "]" * 600 + "}", "line: expected JSON, got"),
    ],
)
def test_what_no_line_can_hold_is_refused_with_its_place(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "in.jsonl").write_text(f'{{"instruction": "fine"}}\n{line}\n')
    (problem,) = read(tmp_path / "in.jsonl").problems
    assert problem.startswith(f"{tmp_path / 'in.jsonl'}:2: {said}")


@pytest.mark.parametrize("value", [{1, 2}, object(), 1j, {1: "a", "1": "b"}])
def test_a_value_of_no_kind_that_json_knows(value: Any) -> None:
    with pytest.raises(FieldError, match=r"^odd: expected"):
        jsonable(Record("0", "Q", extra={"odd": value}), Counter())


leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters()), st.binary(), st.dates(),
    st.datetimes(), st.times(), st.timedeltas(), st.decimals(), st.uuids(),
)  # fmt: skip


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(), max_size=3), inner, max_size=3)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.text(max_size=3), st.recursive(leaves, nested, max_leaves=8), max_size=3))
def test_whatever_a_column_holds_can_be_written_and_read_back(
    tmp_path_factory: pytest.TempPathFactory, extra: dict[str, Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "generated.jsonl"
    made = jsonable(Record("0", "Q", extra=extra), Counter()).extra
    write_jsonl(path, [made])
    assert json.loads(path.read_text(encoding="utf-8")) == made


@pytest.mark.parametrize(
    ("key", "told"),
    [
        (
            "datamodule.path",
            "mend the file, or name its format by datamodule.format, or name its columns by datamodule.c",
        ),
        ("datamodule.val_path", "or name its format by datamodule.format, or name its columns by datamodule.columns={"),
        (
            "datamodule.sources[1].path",
            "by datamodule.sources[1].format, or name its columns by datamodule.sources[1].c",
        ),
        ("input", "mend the file, or name its columns by input_columns={instruction: q"),
        ("benchmark.path", "next: mend the file$"),
        ("path", "or name its format by format, or name its columns by columns={"),
    ],
)
def test_a_command_names_the_keys_that_it_has(key: str, told: str, tmp_path: Path) -> None:
    write_jsonl(path := tmp_path / "a.jsonl", [{"q": "Why?"}])
    with pytest.raises(DataError, match=re.escape(told).replace(r"\$", "$")):
        load_questions(Source(str(path), None, key=key))


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("datamodule.path", "; next: datamodule.columns={inst"),
        ("input", "; next: input_columns={"),
        ("benchmark.path", ""),
    ],
)
def test_hints_for_a_row_name_the_keys_that_there_are(key: str, hint: str, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "b.jsonl", [{"prompt": "Why?", "answer": "So."}])
    (problem,) = load_questions(Source(str(tmp_path / "b.jsonl"), None, key=key, format="prompts")).problems
    said, _, told = problem.partition("got 'So.'")
    assert "b.jsonl:1: answer: expected no answers" in said and told.startswith(hint) and bool(told) == bool(hint)
