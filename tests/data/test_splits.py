"""Splits: of folders, of data sets that were saved, of the hub; what is not said is never guessed."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tuna.data.files import Rows, read_rows
from tuna.data.splits import pick
from tuna.errors import DataError

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
        read_rows(str(tmp_path))
    assert str(fault.value) == (
        f"{tmp_path}: expected the name of a split, one of test_prefs, train_prefs, got nothing; "
        "next: datamodule.split=train_prefs"
    )
    found = read_rows(str(tmp_path), "train_prefs")
    assert _said(found) == ["train_prefs-00000-of-00002", "train_prefs-00001-of-00002"]
    assert found.note == f"{tmp_path}: split train_prefs is read, test_prefs not"
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
        read_rows(folder, "train")


def test_one_file_has_no_splits(tmp_path: Path) -> None:
    path = str(Path(_folder(tmp_path, "test-00000-of-00001.jsonl")) / "test-00000-of-00001.jsonl")
    assert len(read_rows(path, "test").rows) == 1
    with pytest.raises(DataError, match=r"one file has no splits; next: leave datamodule.split=train away"):
        read_rows(path, "train")
    with pytest.raises(DataError, match=r"^datamodule.subset: expected a hub data set owner/name beside it, got "):
        read_rows(path, subset="main")


def test_saved_data_sets(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    made = {name: datasets.Dataset.from_list(rows) for name, rows in SPLITS.items()}
    datasets.DatasetDict(made).save_to_disk(str(tmp_path / "many"))
    made["train_sft"].save_to_disk(str(tmp_path / "one"))
    with pytest.raises(
        DataError, match=r"one of test_prefs, train_prefs, train_sft, got nothing; next: datamodule.spl"
    ):
        read_rows(str(tmp_path / "many"))
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
        read_rows("owner/name")
    with pytest.raises(DataError, match=r"got 'hrad'; next: datamodule.sources\[0\].subset=hard$"):
        read_rows("owner/name", subset="hrad", key="datamodule.sources[0].path")
    assert _said(read_rows("owner/name", "test_prefs", "hard")) == ["test_prefs"]
    with pytest.raises(DataError, match=r"next: datamodule.split=train_prefs"):
        read_rows("owner/name", subset="hard")


def test_train_or_the_only_one() -> None:
    assert pick("p", ["test", "train"], None, "path") == "train"
    assert pick("p", ["test"], None, "path") == "test"
