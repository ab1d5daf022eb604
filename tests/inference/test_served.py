"""What a served model is sent, what its replies say, and how it answers a benchmark: once each, the budget kept."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.evaluation.make import measure, results_of
from tests.inference.http_server import LoopbackServer, chaos
from tuna.data.record import Record
from tuna.errors import ConfigError, DataError, RunError, TunaError
from tuna.evaluation.questions import Question
from tuna.inference.cost import Price, Prices
from tuna.inference.elementary import held_out_records
from tuna.inference.served import ServedGeneration, ServedModel
from tuna.inference.server import TryAgain
from tuna.inference.store import key_of

pytestmark = pytest.mark.once  # computes nothing that kernels could round


def test_prompts() -> None:
    record = Record("1", "Add.", "1 2")
    assert ServedModel(model="m").prompt(record) == "Add.\n1 2"
    assert ServedModel(model="m", endpoint="completions").prompt(record).endswith("### Input:\n1 2\n\n### Response:")
    finished = Record("1", "A finished prompt:", template="none")
    assert ServedModel(model="m", endpoint="completions").prompt(finished) == "A finished prompt:"
    assert ServedModel(model="m", endpoint="completions", template="none").prompt(record).startswith("Add.")


TURNS = (
    {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi."},
    {"role": "assistant", "content": "Hello."}, {"role": "user", "content": "Again?"},
)  # fmt: skip


def test_a_chat_gets_the_conversation_and_its_tools() -> None:
    tool = {"type": "function", "function": {"name": "look"}}
    asked = ServedModel(model="m").payload(Record("0", "Again?", messages=TURNS, tools=(tool,)), 9, 1.0)
    assert asked["messages"] == list(TURNS) and asked["tools"] == [tool]
    short = ServedModel(model="m").payload(Record("0", "Add.", "1 2"), 9, None)
    assert short == {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Add.\n1 2"}]}


def test_conversations_with_the_same_last_turn_are_told_apart_and_priced_whole() -> None:
    model = ServedModel(model="m")
    prompts = [model.prompt(Record("0", "Again?", messages=turns)) for turns in ((), TURNS[1:], TURNS)]
    assert len(set(prompts)) == 3 and prompts[0] == "Again?"
    assert all(turn["content"] in prompts[2] for turn in TURNS)
    assert model.prompt(Record("1", "Other words", messages=TURNS)) == prompts[2]


@pytest.mark.parametrize("template", ["alpaca", "none"])
def test_completions_refuse_a_conversation_by_its_row(template: Any) -> None:
    model = ServedModel(model="m", endpoint="completions", template=template)
    with pytest.raises(DataError, match=r"^in\.jsonl:3: messages: expected .*endpoint=chat$"):
        model.prompt(Record("0", "Q", messages=TURNS, where="in.jsonl:3"))


def test_payloads() -> None:
    chat = ServedModel(model="m", token_limit="max_completion_tokens", extra_body={"top_k": 0})
    assert chat.payload(Record("0", "Hi"), 7, 1.1) == {
        "model": "m", "temperature": 1.1, "max_completion_tokens": 7, "extra_body": {"top_k": 0},
        "messages": [{"role": "user", "content": "Hi"}],
    }  # fmt: skip
    plain = ServedModel(model="m", endpoint="completions", template="none").payload(Record("0", "Hi"), 512, 1.0, 3)
    assert plain == {"model": "m", "temperature": 1.0, "max_tokens": 512, "prompt": "Hi", "n": 3}


@pytest.mark.parametrize("body", [{}, {"choices": []}, {"choices": "x"}, {"choices": [{}]}, {"choices": [None]}])
def test_replies_without_answers_are_asked_again(body: dict[str, Any]) -> None:
    with pytest.raises(TryAgain) as fault:
        ServedModel(model="m").read(body)
    assert fault.value.billed


def test_prices_and_faults() -> None:
    prices = Prices({"m": [2.0, 8.0]})
    assert ServedModel(model="m").price_in(prices) == Price(2, 8)
    assert ServedModel(model="m", batch=True).price_in(prices) == Price(1, 4)
    assert ServedModel(model="own", price=(0, 0)).price_in(prices) == Price(0, 0)
    assert ServedModel(model="own").price_in(prices) is None
    for wrong in ({"temperature": -1, "concurrency": 0}, {"base_url": "host", "api_key_env": "a b", "model": ""}):
        with pytest.raises(ConfigError) as fault:
            ServedModel(**{"model": "m", **wrong})  # type: ignore[arg-type]
        assert sorted(line.partition(":")[0] for line in str(fault.value).splitlines()) == sorted(wrong)


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
