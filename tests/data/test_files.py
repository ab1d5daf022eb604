"""Reading every kind of file, and the one message of each that cannot be read."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tuna.data.files import is_hub_id, read_rows, sha256_file, write_jsonl
from tuna.errors import DataError

ROWS = [{"instruction": "a", "n": 1}, {"instruction": "b \u2028 ü", "n": 2}]


def _values(path: Path | str) -> list[Any]:
    return [row.value for row in read_rows(str(path)).rows]


def test_jsonl_json_and_parquet_give_the_same_rows(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    write_jsonl(tmp_path / "a.jsonl", ROWS)
    (tmp_path / "b.json").write_text(json.dumps(ROWS, indent=1), encoding="utf-8-sig")
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "c.parquet")
    for name in ("a.jsonl", "b.json", "c.parquet"):
        assert _values(tmp_path / name) == ROWS
    assert [row.where for row in read_rows(str(tmp_path / "b.json")).rows][1].endswith("b.json:2")
    assert _values(tmp_path) == ROWS * 3  # a folder: its files by name


def test_json_lines_under_another_name(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("\n".join(map(json.dumps, ROWS)))
    (tmp_path / "b.jsonl").write_text(json.dumps(ROWS))
    assert _values(tmp_path / "a.json") == _values(tmp_path / "b.jsonl") == ROWS


def test_lines_keep_their_numbers_and_a_broken_one_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n\n{"a": \n{"a": 2}\n')
    rows = read_rows(str(path)).rows
    assert [row.where.rpartition(":")[2] for row in rows] == ["1", "3", "4"]
    assert rows[1].problem.startswith("line: expected JSON, got '{\"a\": '")


def test_hash_is_of_the_content(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", ROWS)
    write_jsonl(tmp_path / "b.jsonl", ROWS)
    write_jsonl(tmp_path / "c.jsonl", ROWS[:1])
    a, b, c = (read_rows(str(tmp_path / f"{name}.jsonl")).sha256 for name in "abc")
    assert a == b == sha256_file(tmp_path / "a.jsonl") != c


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b"", "expected one row or more, got an empty file"),
        ("a.jsonl", b" \n\n", "got an empty file"),
        ("a.json", b"[]", "got an empty file"),
        ("a.json", b'[\n{"a": 1},\n{]', "a.json:3: expected a JSON list of objects, got broken JSON"),
        ("a.jsonl", b'{"a": 1}\n\xff\xfe', "a.jsonl:2: expected UTF-8"),
        ("a.parquet", b"PAR1 and no more", "expected a Parquet file"),
    ],
)
def test_unreadable_files(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_rows(str(tmp_path / name))


def test_missing_file_names_the_nearest_and_the_next_command(tmp_path: Path) -> None:
    (tmp_path / "ranked.jsonl").write_text("{}")
    with pytest.raises(DataError) as fault:
        read_rows(str(tmp_path / "rankd.jsonl"))
    near = tmp_path / "ranked.jsonl"
    assert str(fault.value) == (
        f"{tmp_path / 'rankd.jsonl'}: no such file; nearest: {near}; next: datamodule.path={near}"
    )
    with pytest.raises(DataError, match=f"; next: input={near}"):
        read_rows(str(tmp_path / "rankd.jsonl"), key="input")
    with pytest.raises(DataError, match="no such file or folder, and no hub id owner/name; next: ls "):
        read_rows(str(tmp_path / "no" / "x.jsonl"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"expected a folder with .*\.parquet files"):
        read_rows(str(tmp_path / "empty"))


def test_hub_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    assert is_hub_id("owner/name.v2")
    assert not any(map(is_hub_id, ("data/lists", "owner/name.jsonl", "name", "a/b/c", "/abs/name", "../name")))

    def refuse(path: str, subset: str | None) -> Any:
        raise ConnectionError(f"cannot reach {path}\nlong trace")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=refuse))
    with pytest.raises(DataError, match=r"^owner/name: no file here, and the hub gave no data set \(cannot reach"):
        read_rows("owner/name")
    for found in ({"test": [], "train": ROWS}, {"only": ROWS}, ROWS):
        monkeypatch.setitem(
            sys.modules, "datasets", SimpleNamespace(load_dataset=lambda path, subset, found=found: found)
        )
        assert _values("owner/name") == ROWS


def test_a_folder_that_datasets_saved(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_list(ROWS).save_to_disk(str(tmp_path / "saved"))
    assert _values(tmp_path / "saved") == ROWS


def test_writing_is_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "out" / "a.jsonl"
    write_jsonl(path, ROWS)
    with pytest.raises(ValueError):
        write_jsonl(path, [{"a": float("nan")}])
    assert _values(path) == ROWS
    assert [p.name for p in path.parent.iterdir()] == ["a.jsonl"]
