import json
from pathlib import Path
from typing import Any

import pytest

from tests.reporting.make import make_ranking, make_result, make_run, write
from tuna.errors import DataError
from tuna.reporting.read import Found, measured_in, paper, read_examples


def test_everything_is_found_at_any_depth(tmp_path: Path) -> None:
    make_run(tmp_path / "runs", "a")
    make_run(tmp_path / "runs", "sweep/0", status="failed")
    write(tmp_path / "runs" / "a" / "model" / "run.json", {})  # inside of a run: not looked at
    make_ranking(tmp_path / "rankings", "r")
    make_result(tmp_path / "results", "elementary", "a", 0.5)
    found = Found.read([tmp_path / "runs"], [tmp_path / "rankings"], [tmp_path / "results"])
    assert [(run.name, run.status) for run in found.runs] == [("a", "finished"), ("sweep/0", "failed")]
    assert [run.sweep for run in found.runs] == [None, tmp_path / "runs" / "sweep"]
    assert found.rankings[0].name == "r" and found.rankings[0].lists == tmp_path / "rankings" / "r.jsonl"
    assert found.results[0].scores == {"accuracy": 0.5}
    assert found.problems == found.unread == []


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    make_run(tmp_path, "good")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "run.json").write_text('{"status": "fin')
    write(tmp_path / "list" / "run.json", [1])
    write(tmp_path / "other" / "run.json", {"status": "finished", "config": None})
    found = Found.read([tmp_path], [], [])
    assert [run.name for run in found.runs] == ["good"]
    assert found.unread[0] == f"{tmp_path}/list/run.json: expected a JSON object, got list; it is not in the report"
    assert "config: expected a mapping, got None" in found.unread[1]
    assert "torn/run.json: cannot be read, so it is not in the report" in found.unread[2]


@pytest.mark.parametrize(
    ("key", "value"),
    [("usage", {"cost": "free"}), ("lists", 10**400), ("ranking", {"lengths": ["long"]}), ("identity", "x"),
     ("config", {"judge": 5}), ("config", {"prices": [1]}), ("config", {"seed": "x"})],
)  # fmt: skip
def test_a_ranking_with_other_values_is_told(key: str, value: object, tmp_path: Path) -> None:
    make_run(tmp_path, "good")
    path = make_ranking(tmp_path, "r")
    write(path, json.loads(path.read_text()) | {key: value})
    found = Found.read([tmp_path], [tmp_path], [])
    assert not found.rankings and f"{path}: expected what Tuna writes" in found.unread[0]


def test_an_evaluation_that_did_not_end_is_told(tmp_path: Path) -> None:
    make_result(tmp_path, "elementary", "a", 0.5)
    write(tmp_path / "elementary" / "killed" / "results.json", {"status": "running", "benchmark": "elementary"})
    found = Found.read([], [], [tmp_path])
    assert len(found.results) == 1
    assert found.problems == [
        f"{tmp_path}/elementary/killed/results.json: not measured to its end; the same evaluate.py command goes on"
    ]


def test_nothing_at_all_names_the_next_command(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing to report on(.|\n)*Next: python .*train\.py(.|\n)*evaluate\.py"):
        Found.read([tmp_path], [tmp_path / "none"], [tmp_path])


def test_a_null_score_is_no_number(tmp_path: Path) -> None:
    path = make_result(tmp_path, "elementary", "a", None)
    found = Found.read([], [], [tmp_path])
    assert found.results[0].scores == {} and found.results[0].path == path


def test_an_answer_may_hold_any_line_end(tmp_path: Path) -> None:
    rows = [{"id": "q", "answer": "one\u2028two\u2029\x85"}, {"id": "r", "answer": "three"}]
    path = make_result(tmp_path, "elementary", "a", 0.5)
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.with_name("examples.jsonl").write_text("".join(lines), encoding="utf-8")
    assert list(read_examples(path).values()) == rows


@pytest.mark.parametrize("content", [b"[" * 5000, b'{"id": ' + b"1" * 5000 + b"}", b"\xff"])
def test_examples_that_hold_anything(tmp_path: Path, content: bytes) -> None:
    path = make_result(tmp_path, "elementary", "a", 0.5)
    path.with_name("examples.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=r"examples\.jsonl"):
        read_examples(path)
    path.write_bytes(content)
    make_run(tmp_path, "good")
    assert "results.json: cannot be read" in "".join(Found.read([tmp_path], [], [tmp_path]).unread)


def test_examples_name_the_line_that_is_wrong(tmp_path: Path) -> None:
    path = make_result(tmp_path, "elementary", "a", 0.5, examples=[{"id": "q"}])
    assert read_examples(path) == {("", "q"): {"id": "q"}}
    path.with_name("examples.jsonl").write_text('{"id": 1}\n[broken\n')
    with pytest.raises(DataError, match=r"examples\.jsonl:2: expected a JSON object"):
        read_examples(path)
    path.with_name("examples.jsonl").unlink()
    assert read_examples(path) == {}


def test_claims_name_what_there_is() -> None:
    found = paper()
    names = {*found["order"], "@baseline"}
    tags = {sweep["tag"] for sweep in found["sweeps"]}
    for claim in found["claims"]:
        known = claim.get("sweep") in tags or claim.get("ranker") in ("contextual", "proxy")
        assert known or {claim["a"], claim["b"]} <= names


def test_what_holds_something_else_is_named_and_left_out(tmp_path: Path) -> None:
    whole: dict[str, Any] = {
        "status": "finished", "benchmark": "b", "model": {}, "scores": {"a": 1.0}, "primary": "a", "coverage": {},
    }  # fmt: skip
    odd: tuple[dict[str, Any], ...] = (
        {"scores": {"a": "good"}},
        {"coverage": [1]},
        {"intervals": {"a": 7}},
        {"settings": {"x": 1}},
    )
    for number, change in enumerate(odd):
        folder = tmp_path / "step" / "b" / str(number)
        folder.mkdir(parents=True)
        (folder / "results.json").write_text(json.dumps(whole | change))
    found = Found.read([tmp_path], [tmp_path], [tmp_path])
    assert [each.path.parent.name for each in found.results] == ["3"]
    assert len(found.unread) == 3 and "step/b/0/results.json: expected what Tuna writes, got" in found.unread[0]
    with pytest.raises(DataError, match=r"0/results\.json: expected what Tuna writes, got .*next: move it away"):
        measured_in(tmp_path / "step")


def test_a_job_that_a_later_sweep_finished_is_not_missing(tmp_path: Path) -> None:
    for sweep, identity, status in (("1", "a", "failed"), ("1", "b", "failed"), ("2", "a", "finished")):
        write(tmp_path / "sweeps" / sweep / identity / "job.json", {"identity": identity, "status": status})
    found = Found.read([tmp_path], [], [])
    assert found.jobs == [f"sweep job {tmp_path / 'sweeps' / '1' / 'b'}: failed"]
