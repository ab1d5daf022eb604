"""CSV and TSV: what a cell becomes, line numbers, and what is refused."""

from pathlib import Path

import pytest

from tests.data.make import write
from tuna.data.fields import Cell, plain
from tuna.data.files import read_rows
from tuna.data.load import Source, load_source
from tuna.data.rows import Row, read_delimited
from tuna.errors import DataError


def _rows(path: Path, text: str) -> list[Row]:
    path.write_bytes(text.encode())
    return read_rows(str(path)).rows


def test_quotes_line_breaks_and_line_numbers(tmp_path: Path) -> None:
    rows = _rows(tmp_path / "a.csv", 'q,a\r\n"Say ""hi"",\nplease.",Hi.\r\n\r\nName a tree.,An oak.\r\n')
    assert [row.value for row in rows] == [
        {"q": 'Say "hi",\nplease.', "a": "Hi."},
        {"q": "Name a tree.", "a": "An oak."},
    ]
    assert [row.where.rpartition(":")[2] for row in rows] == ["2", "5"]


@pytest.mark.parametrize(("name", "mark"), [("a.csv", ","), ("a.csv", ";"), ("a.csv", "\t"), ("a.tsv", "\t")])
def test_what_stands_between_cells(tmp_path: Path, name: str, mark: str) -> None:
    other = ";" if mark == "," else ","
    assert _rows(tmp_path / name, f"\ufeffq{mark}a\none{other} two{mark}x\n")[0].value == {
        "q": f"one{other} two",
        "a": "x",
    }


def test_lists_are_read_by_column_and_text_stays_text() -> None:
    text = 'q,r,n\n"[1, 2]","[""a"", ""b""]",7\nSort it.,"[""c""]",\nAdd.,"{""x"": 1}",true\n'
    values = [row.value for row in read_delimited("a.csv", text, tabs=False)]
    assert values == [
        {"q": "[1, 2]", "r": ["a", "b"], "n": "7"},
        {"q": "Sort it.", "r": ["c"], "n": None},
        {"q": "Add.", "r": {"x": 1}, "n": "true"},
    ]
    assert values[0] and values[0]["n"].__class__ is Cell


def test_cells_are_numbers_where_numbers_are_wanted(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('id,instruction,output,responses\n007,2 + 2?,4,"[{""text"": ""4"", ""score"": 1}]"\n')
    record = load_source(Source(str(path), None)).records[0]
    assert (record.id, record.output, record.responses[0].score) == ("007", "4", 1.0)
    path.write_text("q,one,two,s1,s2\n2 + 2?,4,5,1.5,x\nAnd 3 + 3?,6,7,2,-1e1\n")
    columns = {"instruction": "q", "responses": ["one", "two"], "score": ["s1", "s2"]}
    loaded = load_source(Source(str(path), columns=columns, original="best"))
    assert [(c.text, c.score) for c in loaded.records[0].responses] == [("6", 2.0), ("7", -10.0)]
    assert loaded.problems == [f"{path}:2: responses[1].score: expected a finite number, got 'x'"]


@pytest.mark.parametrize(
    ("cell", "value"), [("1e3", 1000.0), ("TRUE", True), ("false", False), ("1_0", "1_0"), ("[1]", "[1]"), ("", "")]
)
def test_plain(cell: str, value: object) -> None:
    found = plain(Cell(cell))
    assert found == value and isinstance(found, bool) == isinstance(value, bool)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("a,b,c", "line: expected 2 cells, as the header has, got 3"),
        ("a", "line: expected 2 cells, as the header has, got 1"),
        ('"a" and b,c', "line: expected cells whose quotes are doubled and closed (',' expected after '\"')"),
        ('a,"b', "line: expected cells whose quotes are doubled and closed (unexpected end of data)"),
    ],
)
def test_a_broken_row_is_a_problem_of_its_line(tmp_path: Path, line: str, problem: str) -> None:
    rows = _rows(tmp_path / "a.csv", f"q,a\none,two\n{line}\n")
    assert rows[0].value == {"q": "one", "a": "two"}
    assert (rows[1].where, rows[1].problem) == (f"{tmp_path / 'a.csv'}:3", problem)


def test_a_broken_list_in_a_column_of_lists_is_no_text() -> None:
    text = 'q\n"[""a""]"\n"[""b""]"\n[oops\n'
    row = read_delimited("a.csv", text, tabs=False)[2]
    assert (row.where, row.value) == ("a.csv:4", None)
    assert row.problem == "q: expected JSON, as in most cells of this column, got '[oops'"


def test_headers(tmp_path: Path) -> None:
    assert _rows(tmp_path / "a.csv", ",q\n0,one\n")[0].value == {"q": "one"}, "pandas' index has no name"
    with pytest.raises(DataError, match=r"a.csv:1: header: expected different column names, got 'q' twice"):
        _rows(tmp_path / "a.csv", "q,q\n1,2\n")
    with pytest.raises(DataError, match="expected one row or more, got an empty file"):
        _rows(tmp_path / "a.csv", "q,a\n")


def test_content_decides(tmp_path: Path) -> None:
    path = Path(write(tmp_path / "a.csv", [{"q": "one"}]))
    assert read_rows(str(path)).rows[0].value == {"q": "one"}
