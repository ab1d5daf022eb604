"""Agreement between two files; shards put together are the whole, in order; both as they are typed."""

import errno
import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.inference.make import collect, write_answers, write_rows
from tuna.data.files import read_rows
from tuna.errors import ConfigError, DataError, TunaError
from tuna.ranking.tools import best, clear, compare, merge, run_tool

pytestmark = pytest.mark.once


def ranked(key: str, **scores: float) -> dict[str, object]:
    return {"id": key, "responses": [{"text": text, "score": score} for text, score in scores.items()]}


def test_compare_writes_json_and_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = write_rows(tmp_path / "a.jsonl", [ranked("1", a=2, b=1, c=0), ranked("2", a=1, b=1)])
    two = write_rows(tmp_path / "b.jsonl", [ranked("1", a=2, b=0, c=1), ranked("2", a=1, b=0)])
    run_tool(["compare", str(one), str(two), str(tmp_path / "agreement.json")])
    assert "Spearman, mean over 1 lists: 0.5" in capsys.readouterr().out  # 1 - 6 * 2 / (3 * 8); ties give none
    assert json.loads((tmp_path / "agreement.json").read_text())["lists"] == 2
    assert (tmp_path / "agreement.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["compare", "a.jsonl"], "rank.py compare A.jsonl B.jsonl"),
        (["merge", "out.jsonl"], "rank.py merge OUT.jsonl"),
        (["best", "lists.jsonl"], "rank.py best LISTS.jsonl OUT.jsonl"),
        (["compare", "nothing.jsonl", "neither.jsonl"], "nothing.jsonl: no such file"),
    ],
)
def test_faults_are_one_message(
    words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        run_tool(words)
    said = capsys.readouterr().err
    assert stopped.value.code == 1 and said.startswith("error: ") and told in said and "Traceback" not in said


def test_a_full_disk_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(path: str, rows: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", path)

    monkeypatch.setattr("tuna.ranking.tools.write_jsonl", full)
    lists = write_rows(tmp_path / "a.jsonl", [ranked("1", a=2, b=1)])
    with pytest.raises(SystemExit):
        run_tool(["best", str(lists), str(tmp_path / "out.jsonl")])
    assert capsys.readouterr().err.startswith(f"error: {tmp_path}/out.jsonl: No space left on device; ")


def test_by_hand(tmp_path: Path) -> None:
    one = write_rows(tmp_path / "a", [ranked("1", a=2, b=1, c=0), ranked("2", a=1, b=0), ranked("3", a=1, b=0)])
    two = write_rows(tmp_path / "b", [ranked("1", b=2, a=1, c=0), ranked("2", a=5, b=-5), ranked("4", a=1, b=0)])
    found = compare(str(one), str(two))
    assert (found.lists, found.only_first, found.only_second) == (2, 1, 1)
    assert found.spearman.mean == pytest.approx((0.5 + 1) / 2) and found.pairs.mean == pytest.approx((2 / 3 + 1) / 2)


def test_ties_and_answers_in_one_alone(tmp_path: Path) -> None:
    one = write_rows(tmp_path / "a", [ranked("1", a=1, b=1), ranked("2", a=1, b=0, c=5)])
    two = write_rows(tmp_path / "b", [ranked("1", a=1, b=0), ranked("2", a=1, b=0, d=5)])
    found = compare(str(one), str(two))
    assert found.lists == 2 and found.spearman.lists == 1 and not math.isnan(found.spearman.mean)
    assert found.pairs.mean == 0.75  # a tie orders a pair half right


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    one = write_rows(tmp_path / "a", [ranked("1", a=1, b=0)])
    with pytest.raises(DataError, match="no list with two answers in common"):
        compare(str(one), str(write_rows(tmp_path / "b", [ranked("2", a=1, b=0)])))
    with pytest.raises(DataError, match="c:1: expected a ranked list"):
        compare(str(one), str(write_rows(tmp_path / "c", [{"instruction": "x"}])))


@pytest.mark.parametrize(
    ("response", "told"),
    [({"text": "a", "score": "5"}, "text and score, a number"), ({"text": "a", "score": 10**400}, "a number"),
     ({"text": 3, "score": 5}, "a number"), (7, "a number")],
)  # fmt: skip
def test_answers_that_are_none_are_told(response: Any, told: str, tmp_path: Path) -> None:
    row = {"id": "1", "responses": [{"text": "b", "score": 1, "sample": 0}, response]}
    with pytest.raises(DataError, match=rf"a\.jsonl:1: responses: expected objects with .*{told}"):
        best(str(write_rows(tmp_path / "a.jsonl", [row])), str(tmp_path / "out.jsonl"))


def test_other_columns_may_hold_what_json_does_not(tmp_path: Path) -> None:
    lists = tmp_path / "a.jsonl"
    lists.write_text('{"id": "1", "note": NaN, "responses": [{"text": "a", "score": 1}, {"text": "b", "score": 2}]}\n')
    assert best(str(lists), str(tmp_path / "out.jsonl")) == (1, 1)
    assert json.loads((tmp_path / "out.jsonl").read_text()) == {"id": "1", "note": None, "output": "b", "best_of": 2}


@pytest.mark.parametrize(
    "shard", [None, 3, {"ids": ["1"]}, {"ids": 3, "index": 1, "count": 1}, {"ids": ["1"], "index": 1, "count": 10**30}]
)
def test_a_shard_whose_report_holds_something_else(shard: Any, tmp_path: Path) -> None:
    lists = write_rows(tmp_path / "a.jsonl", [ranked("1", a=1, b=0)])
    (tmp_path / "a.report.json").write_text(json.dumps({"shard": shard}))
    with pytest.raises(TunaError, match=r"shard"):
        merge(str(tmp_path / "out.jsonl"), [str(lists)])


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


def test_the_best_answer_of_each_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    judged = {
        "id": "1", "instruction": "Say a.", "output": "the original", "task": "say", "judge": {"judge": "openai"},
        "dropped": [{"text": "", "reason": "empty"}],
        "responses": [
            {"text": "the judge's own", "score": 0.0}, {"text": "b", "score": -2.0, "sample": 0},
            {"text": "a", "score": -1.0, "sample": 1}, {"text": "c", "score": -1.0, "sample": 2},
        ],
    }  # fmt: skip
    lists, out = write_rows(tmp_path / "lists.jsonl", [judged, ranked("2", a=0, b=3)]), tmp_path / "out.jsonl"
    for _ in range(2):  # what it wrote itself is written anew
        run_tool(["best", str(lists), str(out)])
    assert [json.loads(line) for line in out.read_text().splitlines()] == [
        {"id": "1", "instruction": "Say a.", "output": "a", "task": "say", "best_of": 3},
        {"id": "2", "output": "b", "best_of": 2},
    ]
    assert "2 best answers: " in capsys.readouterr().out
    with pytest.raises(ConfigError, match=r"lists.jsonl: is there and rank.py best did not make it"):
        best(str(out), str(lists))
    for rows, told in (([{"id": "1", "output": "a"}], "expected a ranked list"), ([ranked("1")], "got none")):
        with pytest.raises(DataError, match=rf"odd.jsonl:1: .*{told}"):
            best(str(write_rows(tmp_path / "odd.jsonl", rows)), str(tmp_path / "none.jsonl"))


def test_a_list_whose_original_is_above_all_answers_has_no_best_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def listed(name: str, original: float) -> dict[str, Any]:
        answers = [{"text": "a", "score": -1.0, "sample": 0}, {"text": "b", "score": -2.0, "sample": 1}]
        given = {"text": "r", "score": original, "sample": 2, "source": "original"}
        return {"id": name, "output": "r", "responses": [given, *answers]}

    lists = write_rows(tmp_path / "lists.jsonl", [listed("1", 0.0), listed("2", -1.0)])
    run_tool(["best", str(lists), str(tmp_path / "out.jsonl")])
    assert json.loads((tmp_path / "out.jsonl").read_text()) == {"id": "2", "output": "a", "best_of": 2}
    assert "1 best answers (1 lists left out: their original is above all answers): " in capsys.readouterr().out
    with pytest.raises(DataError, match="as good as its original, got none among 1"):
        best(str(write_rows(tmp_path / "lists.jsonl", [listed("1", 0.0)])), str(tmp_path / "out.jsonl"))


def test_lists_of_one_rank_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lists = write_rows(
        tmp_path / "lists.jsonl", [ranked("1", a=1, b=1), ranked("2", a=1, b=0, c=1), ranked("3", a=0.5)]
    )
    out = tmp_path / "clear.jsonl"
    for _ in range(2):  # its own output may be written anew
        run_tool(["clear", str(lists), str(out)])
        assert [row.value for row in read_rows(str(out)).rows] == [ranked("2", a=1, b=0, c=1) | {"ranks": 2}]
    assert "1 of 3 lists have answers of different ranks: " in capsys.readouterr().out
    with pytest.raises(ConfigError, match=r"lists.jsonl: is there and rank.py clear did not make it"):
        clear(str(out), str(lists))
    same = write_rows(tmp_path / "same.jsonl", [ranked("1", a=1, b=1)])
    with pytest.raises(DataError, match=r"same.jsonl: expected lists whose answers differ in rank, got none among 1"):
        clear(str(same), str(tmp_path / "none.jsonl"))
    assert not (tmp_path / "none.jsonl").exists()
