"""conf/rank.yaml's own keys and the instructions that they name: ids, ranges, shards, all faults at once."""

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from tests.inference.make import write_instructions, write_rows
from tuna.errors import ConfigError, DataError
from tuna.ranking.outputs import OutputPaths
from tuna.ranking.settings import EMBEDDED_FIRST, Settings, shard_of

pytestmark = pytest.mark.once  # computes nothing that kernels could round


def test_all_faults_are_said_at_once() -> None:
    wrong: dict[str, Any] = {"first": 0, "max_cost": -1, "max_requests": "many", "output": "lists.json", "seed": None}
    wrong["input_columns"] = {"responses": "r"}
    with pytest.raises(ConfigError) as fault:
        Settings.read(OmegaConf.create(wrong))
    assert sorted(line.partition(":")[0] for line in str(fault.value).splitlines()) == sorted(wrong)


def test_missing_keys_take_the_defaults_and_others_are_not_its_own() -> None:
    settings = Settings.read(OmegaConf.create({"seed": 3, "judge": {"orders": 2}}))
    assert settings == Settings(seed=3)


@pytest.mark.parametrize(
    ("settings", "output"),
    [
        (Settings(), "rankings/auto.jsonl"),
        (Settings(name="mine", folder="there"), "there/mine.jsonl"),
        (Settings(output="a/lists.jsonl", name="ignored"), "a/lists.jsonl"),
        (Settings(output="a/lists.v2.jsonl", shard="2/3"), "a/lists.v2.shard-2-of-3.jsonl"),
        (Settings(output="a/lists.jsonl", shard="1/1"), "a/lists.jsonl"),
    ],
)
def test_places(settings: Settings, output: str) -> None:
    places = OutputPaths.of(settings, "auto")
    assert str(places.output) == output
    stem = output.removesuffix(".jsonl")
    beside = [places.store, places.unusable, places.report, places.figure]
    assert beside == [Path(stem + end) for end in (".store", ".unusable.jsonl", ".report.json", ".report.png")]


def test_the_embedded_ones() -> None:
    records = Settings().instructions().records
    assert len(records) == EMBEDDED_FIRST and len({record.id for record in records}) == EMBEDDED_FIRST
    assert len(Settings(first=3).instructions().records) == 3 and len(Settings(last=5).instructions().records) == 5


def test_ranges_keep_the_ids_of_the_whole_file(tmp_path: Path) -> None:
    path = str(write_instructions(tmp_path / "in.jsonl", 10))
    assert [r.id for r in Settings(input=path, first=3).instructions().records] == ["0", "1", "2"]
    assert [r.id for r in Settings(input=path, last=3).instructions().records] == ["7", "8", "9"]
    with pytest.raises(DataError, match=r"first: expected at most 10 \(the file's rows\), got 11"):
        Settings(input=path, first=11).instructions()


def test_the_original_response_may_be_missing(tmp_path: Path) -> None:
    record = Settings(input=str(write_rows(tmp_path / "in.jsonl", [{"instruction": "Q"}]))).instructions().records[0]
    assert record.output is None and record.instruction == "Q"


def test_all_faults_are_told_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text(
        '{"instruction": "Q", "id": "a"}\n{"instruction": " "}\nnot json\n{"instruction": "R", "id": "a"}\n'
    )
    with pytest.raises(DataError) as fault:
        Settings(input=str(path)).instructions()
    said = str(fault.value)
    assert all(f"{path}:{line}" in said for line in (2, 3, 4)) and f"{path}:1 has it too" in said
    assert "bad_rows" not in said  # training's way out, not rank.py's


def test_splits_and_columns(tmp_path: Path) -> None:
    for name in ("train_a", "test_a"):
        write_rows(tmp_path / f"{name}.jsonl", [{"q": name, "outs": ["x", "y"]}])
    columns = {"instruction": "q", "responses": "outs"}
    record = Settings(input=str(tmp_path), input_split="test_a", input_columns=columns).instructions().records[0]
    assert (record.instruction, [c.text for c in record.responses]) == ("test_a", ["x", "y"])
    with pytest.raises(DataError, match="next: input_split="):
        Settings(input=str(tmp_path), input_columns=columns).instructions()
    with pytest.raises(DataError, match=r"input_columns.responses: no row has a column 'out'; the file has q, outs"):
        Settings(input=str(tmp_path), input_split="test_a", input_columns=columns | {"responses": "out"}).instructions()


def test_shards_part_the_rows() -> None:
    rows = list(range(11))
    parts = [rows[index - 1 :: count] for index, count in (shard_of(f"{i}/4") for i in (1, 2, 3, 4))]
    assert sorted(row for part in parts for row in part) == rows and [len(part) for part in parts] == [3, 3, 3, 2]
    assert shard_of(None) == (1, 1)


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "a/b", "1/", "-1/2", "1/2/3"])
def test_a_wrong_shard(text: str) -> None:
    with pytest.raises(ConfigError, match="expected i/n with i from 1 to n"):
        shard_of(text)
