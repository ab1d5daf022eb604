"""Answers of a server: asked once each, faults and refusals as in rank.py, the budget kept."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.evaluation.make import measure, results_of
from tests.inference.http_server import LoopbackServer, chaos
from tuna.assets.elementary import held_out_records
from tuna.data.record import Record
from tuna.errors import RunError, TunaError
from tuna.evaluation.base import Question
from tuna.inference.generation import ServedGeneration
from tuna.inference.store import key_of

pytestmark = pytest.mark.once


def words(server: LoopbackServer) -> list[str]:
    return ["generation=openai", f"generation.base_url={server.url}", "generation.model=owner/m-7b", "limit=20"]


def test_a_server_that_misbehaves(tmp_path: Path) -> None:
    with LoopbackServer(chaos(0.4)) as server:
        measure(tmp_path, *words(server), "generation.template=none")
        results, examples, place = results_of(tmp_path, "elementary")
        assert results["settings"]["generation"]["template"] == "none"
        assert place.name.startswith("m-7b-") and results["model"]["kind"] == "server"
        assert results["coverage"]["n"] == 20 and all(e["prediction"].startswith("answer") for e in examples)
        assert set(server.answered.values()) == {1}
        body = server.bodies[0]
        assert body["temperature"] == 0 and body["max_tokens"] == 48 and "n" not in body
        assert [e["instruction"] in body["messages"][0]["content"] for e in examples].count(True) >= 1


def test_a_refusal_is_missing_and_the_budget_holds(tmp_path: Path) -> None:
    def plan(prompt: str, nth: int) -> dict[str, object]:
        return {"kind": "status", "status": 400} if nth == 0 and "opposite" in prompt else {"kind": "ok"}

    with LoopbackServer(plan) as server:
        measure(tmp_path, *words(server))
        results, _, _ = results_of(tmp_path, "elementary")
        assert 0 < len(results["coverage"]["missing"]) < 20 and results["status"] == "incomplete"
        before = sum(server.asked.values())
        measure(tmp_path, *words(server))  # asks for what is missing alone
        assert sum(server.asked.values()) - before == len(results["coverage"]["missing"])
        results, _, _ = results_of(tmp_path, "elementary")
        assert results["coverage"]["n"] == 20 and results["status"] == "finished"
    with LoopbackServer() as server, pytest.raises(TunaError, match="max_requests"):
        measure(tmp_path / "c", *words(server), "max_requests=5", "generation.concurrency=2")
    assert sum(server.asked.values()) == 5
    results, _, _ = results_of(tmp_path / "c", "elementary")
    assert results["status"] == "incomplete" and results["coverage"]["n"] == 5


def test_a_question_with_an_input_is_asked_as_in_training(tmp_path: Path) -> None:
    with LoopbackServer() as server:
        measure(tmp_path, *words(server))
    asked = {body["messages"][0]["content"] for body in server.bodies}
    records = [Record(str(r["id"]), str(r["instruction"]), str(r.get("input") or "")) for r in held_out_records()]
    assert asked <= {record.user_turn for record in records} and any("\n" in text for text in asked)


def test_thoughts_are_taken_off_unless_they_are_to_be_kept(tmp_path: Path) -> None:
    raw = "<think>\nGreen, or blue?\n</think>\n\nblue"
    with LoopbackServer(say=lambda prompt, k: raw) as server:
        for name, more in (("strip", ()), ("keep", ("generation.reasoning=keep",))):
            measure(tmp_path / name, *words(server), *more)
    results, examples, place = results_of(tmp_path / "strip", "elementary")
    assert all(e["prediction"] == "blue" and e["raw"] == raw for e in examples)
    assert any("20 of 20 answers held reasoning" in note for note in results["notes"])
    assert results["coverage"] == {"n": 20, "N": 20, "missing": []}
    assert all(json.loads(line)["text"] == raw for line in (place / "store" / "answers.jsonl").open())
    _, kept, other = results_of(tmp_path / "keep", "elementary")
    assert all(e["prediction"] == raw and "raw" not in e for e in kept) and other.name != place.name


def test_what_never_came_to_an_answer_is_counted_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    silent = {"message": {"content": None, "reasoning_content": "hm " * 9}, "finish_reason": "length"}
    with LoopbackServer(say=lambda prompt, k: silent) as server:
        with pytest.raises(RunError, match="20 of 20 answers were cut by the token limit"):
            measure(tmp_path, *words(server))
        results, examples, _ = results_of(tmp_path, "elementary")
        assert results["coverage"]["n"] == 0 and results["coverage"]["missing"] == []
        assert len(results["coverage"]["empty"]) == len(results["coverage"]["cut"]) == 20
        assert all(e["prediction"] == "" and e["finish_reason"] == "length" and e["reasoning"] for e in examples)
        notes = " ".join(results["notes"])
        assert "20 of 20 answers are empty" in notes and "20 of 20 answers were cut by the token limit" in notes
        said = capsys.readouterr().out
        assert "answered: 0 of 20; empty: " in said and "; cut: " in said
        with pytest.raises(RunError, match="20 of 20 answers are empty"):  # it would be the same again
            measure(tmp_path, *words(server))
        assert set(server.asked.values()) == {1}


def test_an_answer_that_was_cut_counts_and_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def say(prompt: str, k: int) -> Any:
        cut = {"message": {"content": "green and"}, "finish_reason": "MAX_TOKENS"}
        return cut if "opposite" in prompt else "green"

    with LoopbackServer(say=say) as server:
        measure(tmp_path, *words(server))
    results, examples, _ = results_of(tmp_path, "elementary")
    cut = [e["id"] for e in examples if e["prediction"] == "green and"]
    assert 0 < len(cut) < 20 and results["coverage"]["cut"] == cut and results["coverage"]["n"] == 20
    assert f"answered: 20 of 20; cut: {cut[0]}" in capsys.readouterr().out


def test_the_keys_of_answers_stay() -> None:
    generation = ServedGeneration(model="m")
    question = Question("3", Record("3", "Why?"), "t")
    shaped = {"endpoint": "chat", "template": "alpaca", "temperature": 0.0, "extra_body": None}
    named = {"task": "t", "id": "3", "prompt": "Why?", "max_tokens": 9}
    assert generation._asks([question], 9)[0].key == key_of(generation="openai", model="m", **shaped, **named)
    assert generation.identity() == {"generation": "openai", "model": "m", **shaped, "tokenizer": None}


def test_the_price_is_said_and_nothing_sent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with LoopbackServer() as server:
        measure(tmp_path, *words(server), "dry_run=true", "generation.price=[1,2]")
        assert not server.asked
    said = capsys.readouterr().out
    assert "to ask, answers, at most about: 20 requests" in said and "$" in said and not list(tmp_path.iterdir())
