"""Shards put together are the whole, in order; overlaps, gaps and strangers are refused."""

from pathlib import Path

import pytest

from tests.inference.make import collect, write_answers
from tuna.errors import ConfigError, DataError
from tuna.ranking.instructions import Shard, read_instructions
from tuna.ranking.merge import merge

pytestmark = pytest.mark.once


def parts(folder: Path, count: int) -> list[str]:
    source = write_answers(folder / "in.jsonl", 7)
    for index in range(1, count + 1):
        collect(folder, source, score_only="true", shard=f"{index}/{count}")
    return [str(folder / f"out.shard-{index}-of-{count}.jsonl") for index in range(1, count + 1)]


def test_shards_merge_to_the_whole(tmp_path: Path) -> None:
    shards = parts(tmp_path, 3)
    collect(tmp_path, tmp_path / "in.jsonl", score_only="true")
    assert merge(str(tmp_path / "merged.jsonl"), [shards[2], shards[0], shards[1]]) == 7
    assert (tmp_path / "merged.jsonl").read_bytes() == (tmp_path / "out.jsonl").read_bytes()
    with pytest.raises(DataError, match="is there already"):
        merge(str(tmp_path / "merged.jsonl"), shards)


def test_what_does_not_fit_together(tmp_path: Path) -> None:
    shards = parts(tmp_path, 2)
    out = str(tmp_path / "merged.jsonl")
    with pytest.raises(DataError, match="expected shards 1 to 2 of 2, each once, got 1"):
        merge(out, shards[:1])
    with pytest.raises(DataError, match="got 1, 1"):
        merge(out, [shards[0], shards[0]])
    with pytest.raises(DataError, match="shard=i/n"):
        merge(out, [shards[0], str(tmp_path / "in.jsonl")])
    Path(shards[1]).write_text(Path(shards[0]).read_text())
    with pytest.raises(DataError, match="must not overlap"):
        merge(out, shards)
    assert not Path(out).exists()


@pytest.mark.parametrize("text", ["0/2", "3/2", "a/b", "1", "1/2/3", "-1/2"])
def test_wrong_shards(text: str) -> None:
    with pytest.raises(ConfigError, match="shard: expected i/n"):
        Shard.parse(text)


def test_instructions_may_lack_the_original_but_not_the_question(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"instruction": "a"}\n{"instruction": "b", "output": "x"}\n')
    assert [r.id for r in read_instructions(str(path), last=1).records] == ["1"]
    with pytest.raises(DataError, match="first: expected at most 2"):
        read_instructions(str(path), first=3)
    path.write_text('{"id": 1, "instruction": "a"}\n{"id": 1, "instruction": "b"}\n{"instruction": " "}\n{"x\n')
    with pytest.raises(DataError) as fault:
        read_instructions(str(path))
    for words in ("in.jsonl:2: id: expected an id of its own", "in.jsonl:3: instruction", "in.jsonl:4: line"):
        assert words in str(fault.value)
