"""Reading every kind of file, the one message of each that cannot be read, and splits: none is ever guessed."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import tuna
from tuna.data.files import Rows, is_hub_id, pick, read_rows, sha256_file, write_jsonl
from tuna.errors import DataError

OTHER_LINE_ENDS = (*"\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029",)  # where str.splitlines splits, too
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
        ("a.csv", b"\xef\xbb\xbf\n", "got an empty file"),
        ("a.csv", b"\n\x0b\n", "got an empty file"),
        ("a.json", b"[" * 5000, "a.json:1: expected a JSON list of objects, got broken JSON .lists or objects nested"),
        ("a.json", b"[" + b"7" * 4301 + b"]", "a.json:1: .*a whole number of more than 4300 digits"),
        ("a.jsonl", b"\x1f\x8b\x08 and so on", "got gzip; next: gunzip "),
        (
            "a.parquet",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
            "a Git-LFS pointer to it; next: git lfs pull",
        ),
    ],
)
def test_unreadable_files(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_rows(str(tmp_path / name))


@pytest.mark.parametrize(
    ("value", "problem"),
    [("1" * 4301, "a whole number of more than 4300 digits"), ("[" * 101 + "]" * 101, "nested more than 100 deep")],
)
def test_a_line_that_python_cannot_hold_is_one_bad_row(tmp_path: Path, value: str, problem: str) -> None:
    (tmp_path / "a.jsonl").write_text(f'{{"a": 1}}\n{{"a": {value}}}\n')
    good, bad = read_rows(str(tmp_path / "a.jsonl")).rows
    assert good.value == {"a": 1} and problem in bad.problem and bad.where.endswith("a.jsonl:2")
    (tmp_path / "a.csv").write_text(f"n,r\n{value},[1]\n2,[2]\n3,{value}\n")
    first, second, third = read_rows(str(tmp_path / "a.csv")).rows
    assert first.value == {"n": value, "r": [1]} and second.value["r"] == [2]
    assert third.value is None or third.value["r"] == value  # a text, or a fault of the row


@pytest.mark.parametrize("mark", OTHER_LINE_ENDS)
def test_only_a_line_feed_ends_a_line(tmp_path: Path, mark: str) -> None:
    rows = [{"a": f"one{mark}two"}, {"a": mark}]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    assert _values(tmp_path / "a.jsonl") == rows or mark < " "  # JSON has control characters as \\u000b only
    (tmp_path / "a.csv").write_text("a,b\n" + f"one{mark}two,3\n", encoding="utf-8")
    assert _values(tmp_path / "a.csv") == [{"a": f"one{mark}two", "b": "3"}]


def test_no_text_is_split_where_only_str_splitlines_sees_a_line() -> None:
    """Texts of records hold any character. What may be split: comments of our YAML, messages, our own small files."""
    messages = {"config/help.py", "config/schema.py", "config/arguments.py", "config/overrides.py", "config/checks.py"}
    messages |= {"sweeps/launcher.py", "sweeps/jobs.py", "entry.py", "reproduce/run.py"}
    allowed = messages | {"reporting/tables.py"}  # LaTeX comments; a table of words
    root = Path(tuna.__file__).parent
    splitting = {
        str(path.relative_to(root)) for path in root.rglob("*.py") if ".splitlines(" in path.read_text(encoding="utf-8")
    }
    assert {name for name in splitting - allowed if not name.startswith(("ranking/", "judges/"))} == set()


def test_a_path_that_no_file_can_have(tmp_path: Path) -> None:
    for path in ("a\0b", "x" * 5000, "~nobody-of-this-name/a.jsonl"):
        with pytest.raises(DataError, match=r"no such file|cannot be looked at"):
            read_rows(path)


def test_damage_anywhere_in_a_parquet_file_is_one_message(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "c.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS * 5), path)
    whole, told = path.read_bytes(), 0
    for at in range(0, len(whole), 5):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :])
        try:
            read_rows(str(path))
        except DataError as error:
            told += str(path) in str(error)
    assert told > len(whole) // 10


def test_missing_file_names_the_nearest_and_the_next_command(tmp_path: Path) -> None:
    (tmp_path / "ranked.jsonl").write_text("{}")
    (tmp_path / "rankd").touch()  # no data file
    with pytest.raises(DataError) as fault:
        read_rows(str(tmp_path / "rankd.jsonl"))
    near = tmp_path / "ranked.jsonl"
    said = f"{tmp_path / 'rankd.jsonl'}: no such file; nearest: {near}; next: "
    assert str(fault.value) == f"{said}the same command with that one"
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


SPLITS = {name: [{"instruction": name}] for name in ("train_prefs", "test_prefs", "train_sft")}


def _folder(tmp_path: Path, *names: str) -> str:
    for name in names:
        (tmp_path / name).write_text(json.dumps({"instruction": name}) + "\n")
    return str(tmp_path)


def _said(rows: Rows) -> list[str]:
    return [row.value["instruction"] for row in rows.rows]


def test_a_folder_of_several_splits_is_not_read_as_one(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for name in ("train_prefs-00000-of-00002", "train_prefs-00001-of-00002", "test_prefs-00000-of-00001"):
        pq.write_table(pa.Table.from_pylist([{"instruction": name}]), tmp_path / f"{name}.parquet")
    with pytest.raises(DataError) as fault:
        read_rows(str(tmp_path), key="datamodule.path")
    assert str(fault.value) == (
        f"{tmp_path}: expected the name of a split, one of test_prefs, train_prefs, got nothing; "
        "next: datamodule.split=train_prefs"
    )
    found = read_rows(str(tmp_path), "train_prefs")
    assert _said(found) == ["train_prefs-00000-of-00002", "train_prefs-00001-of-00002"]
    assert found.note == f"{tmp_path}: split train_prefs is read, test_prefs not"
    with pytest.raises(DataError, match=r"got nothing; next: a file of one of them alone"):
        read_rows(str(tmp_path), key="benchmark.path")
    with pytest.raises(DataError, match=r"got 'test_pref'; next: input_split=test_prefs"):
        read_rows(str(tmp_path), "test_pref", key="input")


def test_plain_names_of_splits(tmp_path: Path) -> None:
    folder = _folder(tmp_path, "train_1.jsonl", "train_2.jsonl", "test.jsonl")
    assert _said(read_rows(folder)) == ["train_1.jsonl", "train_2.jsonl"]
    assert _said(read_rows(folder, "test")) == ["test.jsonl"]


def test_a_folder_without_splits_is_read_whole_or_by_a_file(tmp_path: Path) -> None:
    folder = _folder(tmp_path, "helpful.jsonl", "harmless.jsonl")
    assert _said(read_rows(folder)) == ["harmless.jsonl", "helpful.jsonl"]
    assert _said(read_rows(folder, "helpful")) == ["helpful.jsonl"]
    with pytest.raises(DataError, match=r"one of harmless, helpful, got 'train'; next: datamodule.split="):
        read_rows(folder, "train", key="datamodule.path")


def test_one_file_has_no_splits(tmp_path: Path) -> None:
    path = str(Path(_folder(tmp_path, "test-00000-of-00001.jsonl")) / "test-00000-of-00001.jsonl")
    assert len(read_rows(path, "test").rows) == 1
    with pytest.raises(DataError, match=r"one file has no splits; next: leave datamodule.split=train away"):
        read_rows(path, "train", key="datamodule.path")
    with pytest.raises(DataError, match=r"^datamodule.subset: expected a hub data set owner/name beside it, got "):
        read_rows(path, subset="main", key="datamodule.path")


def test_saved_data_sets(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    made = {name: datasets.Dataset.from_list(rows) for name, rows in SPLITS.items()}
    datasets.DatasetDict(made).save_to_disk(str(tmp_path / "many"))
    made["train_sft"].save_to_disk(str(tmp_path / "one"))
    with pytest.raises(
        DataError, match=r"one of test_prefs, train_prefs, train_sft, got nothing; next: datamodule.spl"
    ):
        read_rows(str(tmp_path / "many"), key="datamodule.path")
    assert _said(read_rows(str(tmp_path / "many"), "train_sft")) == ["train_sft"]
    with pytest.raises(DataError, match="one data set has no splits"):
        read_rows(str(tmp_path / "one"), "train")


def test_hub_splits_and_configurations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def load(path: str, subset: str | None) -> Any:
        if subset is None:
            raise ValueError("Config name is missing.\nPlease pick one among the available configs: ['easy', 'hard']")
        if subset not in ("easy", "hard"):
            raise ValueError(f"BuilderConfig '{subset}' not found. Available: ['easy', 'hard']")
        return SPLITS

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load))
    with pytest.raises(DataError, match=r"one of easy, hard, got nothing; next: datamodule.subset=(easy|hard)$"):
        read_rows("owner/name", key="datamodule.path")
    with pytest.raises(DataError, match=r"got 'hrad'; next: datamodule.sources\[0\].subset=hard$"):
        read_rows("owner/name", subset="hrad", key="datamodule.sources[0].path")
    assert _said(read_rows("owner/name", "test_prefs", "hard")) == ["test_prefs"]
    with pytest.raises(DataError, match=r"next: datamodule.split=train_prefs"):
        read_rows("owner/name", subset="hard", key="datamodule.path")


def test_train_or_the_only_one() -> None:
    assert pick("p", ["test", "train"], None, "path") == "train"
    assert pick("p", ["test"], None, "path") == "test"
