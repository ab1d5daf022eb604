"""Probabilistic ranking through a server: worked scores, n ignored, restarts, refusals, no log-probabilities."""

import json
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.inference.http_server import OK, LoopbackServer, chaos
from tests.inference.make import collect, read_rows, write_answers, write_instructions
from tuna.data.load import Source, load_source
from tuna.data.ranking import eq3
from tuna.data.record import Record
from tuna.errors import ConfigError, RunError
from tuna.inference.answers import NO_NUMBER, NOT_THE_TEXTS, from_choice
from tuna.inference.store import key_of
from tuna.ranking.teacher import OpenAITeacher

pytestmark = pytest.mark.once


def ask(folder: Path, source: Path, server: LoopbackServer, *words: str, **changes: object) -> dict[str, float]:
    settings: dict[str, object] = {"teacher__concurrency": 4, "teacher__retries": 3, "teacher__model": "m"} | changes
    fixed = ["ranker=probabilistic", "teacher=openai", f"teacher.base_url={server.url}"]
    return collect(folder, source, *fixed, *words, **settings)


@pytest.mark.parametrize("endpoint", ["chat", "completions"])
def test_answers_are_ranked_by_eq3(tmp_path: Path, endpoint: str) -> None:
    with LoopbackServer() as server:
        figures = ask(tmp_path, write_instructions(tmp_path / "in.jsonl"), server, teacher__endpoint=endpoint)
        assert figures["lists"] == 6 and figures["requests"] == 6 and set(server.asked.values()) == {1}
        assert all(body["n"] == 4 and body["temperature"] == 1.0 for body in server.bodies)
    rows = read_rows(tmp_path / "out.jsonl")
    assert [row["instruction"] for row in rows] == [f"Question {n}" for n in range(6)]
    for row in rows:
        assert len(row["responses"]) == 4 and row["output"].startswith("Answer")
        scores = [r["score"] for r in row["responses"]]
        assert scores == sorted(scores, reverse=True)
        for r in row["responses"]:
            assert r["score"] == pytest.approx(eq3(r["logprob"], r["num_tokens"], 1.3), abs=1e-5) and r["source"] == "m"


def test_training_takes_the_file(tmp_path: Path) -> None:
    with LoopbackServer() as server:
        ask(tmp_path, write_instructions(tmp_path / "in.jsonl"), server)
    for rule in ("eq3", "score"):
        loaded = load_source(Source(str(tmp_path / "out.jsonl"), rule))
        assert not loaded.problems and len(loaded.records) == 6
        assert loaded.records[0].output == "Answer 0" and len(loaded.records[0].responses) == 4


def test_the_prompts(tmp_path: Path) -> None:
    with LoopbackServer() as server:
        ask(tmp_path, write_instructions(tmp_path / "in.jsonl", 1), server, teacher__endpoint="completions")
        assert server.bodies[0]["prompt"].endswith("### Instruction:\nQuestion 0\n\n### Response:")
    (tmp_path / "two").mkdir()
    with LoopbackServer() as server:
        ask(tmp_path / "two", tmp_path / "in.jsonl", server, teacher__token_limit="max_completion_tokens")
        assert server.bodies[0]["messages"] == [{"role": "user", "content": "Question 0"}]
        assert server.bodies[0]["max_completion_tokens"] == 512 and server.bodies[0]["logprobs"] is True


def test_a_second_run_asks_for_nothing_and_writes_the_same(tmp_path: Path) -> None:
    source = write_instructions(tmp_path / "in.jsonl")
    with LoopbackServer() as server:
        ask(tmp_path, source, server)
        first = (tmp_path / "out.jsonl").read_bytes()
        ask(tmp_path, source, server)
        assert sum(server.asked.values()) == 6 and (tmp_path / "out.jsonl").read_bytes() == first


def test_another_beta_ranks_anew_and_costs_nothing(tmp_path: Path) -> None:
    source = write_instructions(tmp_path / "in.jsonl")
    with LoopbackServer() as server:
        ask(tmp_path, source, server)
        with pytest.raises(RunError, match=r"ranking\.beta"):
            ask(tmp_path, source, server, ranker__beta=1.0)
        ask(tmp_path, source, server, ranker__beta=1.0, rerank="true")
        assert sum(server.asked.values()) == 6


def test_another_model_does_not_write_into_the_same_file(tmp_path: Path) -> None:
    source = write_instructions(tmp_path / "in.jsonl")
    with LoopbackServer() as server:
        ask(tmp_path, source, server)
        with pytest.raises(RunError, match=r"source\.model: it has 'm', now 'other'"):
            ask(tmp_path, source, server, teacher__model="other")
        assert sum(server.asked.values()) == 6


def test_a_server_that_ignores_n_gets_n_requests(tmp_path: Path) -> None:
    with LoopbackServer(ignores_n=True) as server:
        figures = ask(tmp_path, write_instructions(tmp_path / "in.jsonl"), server)
        assert figures["lists"] == 6 and figures["requests"] == 24 and set(server.asked.values()) == {4}
        assert sum("n" in body for body in server.bodies) <= 4  # each worker's first
    assert all(len({r["text"] for r in row["responses"]}) == 4 for row in read_rows(tmp_path / "out.jsonl"))


def test_stopped_between_the_answers_of_one_instruction(tmp_path: Path) -> None:
    source = write_instructions(tmp_path / "in.jsonl")
    with LoopbackServer(ignores_n=True) as server:
        with pytest.raises(RunError, match="max_requests=10"):
            ask(tmp_path, source, server, max_requests=10)
        assert sum(server.asked.values()) == 10
        figures = ask(tmp_path, source, server)
        assert figures["lists"] == 6 and sum(server.asked.values()) == 24


def test_a_budget_writes_what_there_is_and_goes_on_later(tmp_path: Path) -> None:
    source = write_instructions(tmp_path / "in.jsonl", 12)
    with LoopbackServer() as server:
        with pytest.raises(RunError, match="max_requests=5 reached"):
            ask(tmp_path, source, server, max_requests=5)
        assert len(read_rows(tmp_path / "out.jsonl")) == 5
        ask(tmp_path, source, server)
        assert len(read_rows(tmp_path / "out.jsonl")) == 12 and sum(server.asked.values()) == 12


def test_max_cost_needs_a_price(tmp_path: Path) -> None:
    source = write_instructions(tmp_path / "in.jsonl", 2)
    with LoopbackServer() as server:
        with pytest.raises(RunError, match="the price of 'm' is not known"):
            ask(tmp_path, source, server, max_cost=1)
        assert not server.asked
        ask(tmp_path, source, server, max_cost=1, teacher__price="[1,2]")


def test_chaos_changes_nothing(tmp_path: Path) -> None:
    outputs = []
    for name, plan in (("calm", None), ("chaos", chaos(0.4))):
        (tmp_path / name).mkdir()
        with LoopbackServer(plan) as server:
            ask(tmp_path / name, write_instructions(tmp_path / "in.jsonl", 60), server)
            outputs.append((tmp_path / name / "out.jsonl").read_bytes())
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize(("kind", "words"), [("refusal", "refusal: No."), ("filter", "content filter")])
def test_a_refusal_sets_one_row_aside_and_is_not_asked_again(tmp_path: Path, kind: str, words: str) -> None:
    source = write_instructions(tmp_path / "in.jsonl")
    with LoopbackServer(lambda prompt, nth: {"kind": kind} if prompt == "Question 2" else OK) as server:
        figures = ask(tmp_path, source, server)
        assert figures["lists"] == 5 and figures["unusable"] == 1
        ask(tmp_path, source, server)
        assert sum(server.asked.values()) == 6
    row = read_rows(tmp_path / "out.unusable.jsonl")[0]
    assert row["id"] == "2" and words in row["raw"][0]["reason"]


def test_a_failed_row_is_asked_again_by_the_next_run(tmp_path: Path) -> None:
    source = write_instructions(tmp_path / "in.jsonl")
    broken = {"kind": "status", "status": 400, "body": {"error": {"message": "context length exceeded"}}}
    with LoopbackServer(lambda prompt, nth: broken if prompt == "Question 2" and nth == 0 else OK) as server:
        assert ask(tmp_path, source, server)["unusable"] == 1
        assert "context length" in (tmp_path / "out.unusable.jsonl").read_text()
        figures = ask(tmp_path, source, server)
        assert figures["lists"] == 6 and not (tmp_path / "out.unusable.jsonl").exists()


def test_without_logprobs_it_stops_and_says_what_to_do(tmp_path: Path) -> None:
    with LoopbackServer(logprobs=False) as server:
        with pytest.raises(RunError, match="--logits_all true"):
            ask(tmp_path, write_instructions(tmp_path / "in.jsonl", 50), server)
        assert sum(server.asked.values()) <= 4


def test_dry_run_sends_nothing_and_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_instructions(tmp_path / "in.jsonl", 1000)
    with LoopbackServer() as server:
        figures = ask(tmp_path, source, server, dry_run="true", teacher__price="[2,8]")
        # 1000 requests of 3 tokens ("Question 17" is 11 bytes) and 4 answers of 100 tokens
        assert not server.asked and figures["requests"] == 1000
        assert figures["cost"] == pytest.approx((3 * 1000 * 2 + 400_000 * 8) / 1e6, rel=0.01)
    assert "people comparing every pair of answers instead: $1,500.00" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl"]


def test_a_server_is_not_to_score_given_answers(tmp_path: Path) -> None:
    source = write_answers(tmp_path / "in.jsonl")
    with LoopbackServer() as server:
        with pytest.raises(ConfigError, match=r"^score_only: .*teacher=local teacher\.path="):
            ask(tmp_path, source, server, score_only="true")
        assert not server.asked and [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_identical_prompts_are_paid_for_once(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"instruction": "Same", "output": "a"}\n{"instruction": "Same", "output": "b"}\n')
    with LoopbackServer() as server:
        assert ask(tmp_path, source, server)["lists"] == 2 and sum(server.asked.values()) == 1


def test_wrong_settings_are_said_at_once(tmp_path: Path) -> None:
    source = write_instructions(tmp_path / "in.jsonl", 1)
    wrong = {"teacher__timeout": 0, "teacher__concurrency": 0, "teacher__price": "[1]"}
    for given in (wrong, {"teacher__base_url": "host"}):
        with pytest.raises(ConfigError) as fault:
            collect(tmp_path, source, "ranker=probabilistic", "teacher=openai", **given)
        assert all(key.replace("__", ".") in str(fault.value) for key in given)


def test_a_missing_key_is_named_before_anything_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    source = write_instructions(tmp_path / "in.jsonl", 1)
    with pytest.raises(ConfigError, match="MY_KEY is not set"):
        collect(tmp_path, source, "ranker=probabilistic", "teacher=openai", teacher__api_key_env="MY_KEY")


def test_a_key_given_as_a_name_is_refused_unechoed(tmp_path: Path) -> None:
    source = write_instructions(tmp_path / "in.jsonl", 1)
    with pytest.raises(ConfigError) as fault:
        collect(tmp_path, source, "ranker=probabilistic", "teacher=openai", teacher__api_key_env="sk-abcdef123456")
    assert "never the key itself" in str(fault.value) and "abcdef" not in str(fault.value)


@pytest.mark.parametrize(
    ("choice", "logprob", "tokens"),
    [
        (  # of the text's token and of the ending
            {"text": "a", "logprobs": {"tokens": ["a", "</s>"], "token_logprobs": [-1, -2]}},
            -3.0,
            2,
        ),
        ({"message": {"content": "a"}, "logprobs": {"content": [{"logprob": -1}, {"logprob": -2}]}}, None, None),
        ({"text": "a", "logprobs": {"token_logprobs": [-1, None]}}, None, None),
        ({"text": "a", "logprobs": {"token_logprobs": [-1, float("nan")]}}, None, None),
        ({"text": "a", "logprobs": None}, None, None),
        ({"message": {"content": "a"}, "logprobs": {"content": ["x"]}}, None, None),
    ],
)
def test_logprobs_are_read_whole_or_not_at_all(choice: dict[str, object], logprob: float, tokens: int) -> None:
    answer = from_choice(choice)
    assert (answer.logprob, answer.num_tokens) == (logprob, tokens)


def choice(text: str, tokens: list[tuple[str, float]], **more: object) -> dict[str, object]:
    """A chat choice of ``text`` with the log-probabilities of what was generated."""
    content = [{"token": token, "logprob": value} for token, value in tokens]
    return {"message": {"content": text, **more}, "logprobs": {"content": content}}


def test_a_hidden_thought_does_not_rank(tmp_path: Path) -> None:
    """The better answer is thought about for longer; Eq. 3 sees -0.5 over 3 tokens and -2.5 over 3."""

    def say(prompt: str, k: int) -> dict[str, object]:
        word, value, thoughts = [("One.", -0.125, 30), ("Two.", -1.125, 1)][k % 2]
        answer = [("Line ", value), (word, value), ("<|eot|>", -0.25)]
        return choice(f"Line {word}", [("hm ", -1.5)] * thoughts + answer, reasoning_content="hm " * thoughts)

    with LoopbackServer(say=say) as server:
        ask(tmp_path, write_instructions(tmp_path / "in.jsonl", 1), server, ranker__n=2)
    first, second = read_rows(tmp_path / "out.jsonl")[0]["responses"]
    assert (first["text"], first["logprob"], first["num_tokens"]) == ("Line One.", -0.5, 3)
    assert (second["text"], second["logprob"], second["num_tokens"]) == ("Line Two.", -2.5, 3)
    assert first["score"] == pytest.approx(-0.5 / 3**1.3, abs=1e-6) and first["reasoning"].startswith("hm hm")


def test_a_think_block_in_the_text_is_reasoning(tmp_path: Path) -> None:
    def say(prompt: str, k: int) -> dict[str, object]:
        tokens = [("<think>", -1.0), ("hm", -1.0), ("</think>", -1.0), ("\n\n", -1.0), (f"Line {k}.", -0.5)]
        return choice("".join(token for token, _ in tokens), tokens)

    with LoopbackServer(say=say) as server:
        ask(tmp_path, write_instructions(tmp_path / "in.jsonl", 1), server, ranker__n=2)
    for k, response in enumerate(read_rows(tmp_path / "out.jsonl")[0]["responses"]):
        assert (response["text"], response["reasoning"], response["logprob"]) == (f"Line {k}.", "hm", -0.5)


def test_log_probabilities_that_are_no_answers_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def say(prompt: str, k: int) -> dict[str, object]:
        tokens = [[("Line 0.", -1.0)], [("Line 1.", -2.0)], [("hm Line", -3.0), (" 2.", -1.0)], [("Line 3.", -9999.0)]]
        return choice(f"Line {k}.", tokens[k], reasoning="hm" if k == 2 else None)

    with LoopbackServer(say=say) as server:
        assert ask(tmp_path, write_instructions(tmp_path / "in.jsonl", 2), server)["lists"] == 2
    row = read_rows(tmp_path / "out.jsonl")[0]
    assert [r["text"] for r in row["responses"]] == ["Line 0.", "Line 1."]
    reasons = {entry["text"]: entry["reason"] for entry in row["dropped"]}
    assert reasons == {"Line 2.": NOT_THE_TEXTS, "Line 3.": NO_NUMBER}
    assert json.loads((tmp_path / "out.report.json").read_text())["dropped"] == {NOT_THE_TEXTS: 2, NO_NUMBER: 2}
    assert "answers left out: 4 (" in capsys.readouterr().out


def test_a_gateways_word_for_cut_is_read_by_training(tmp_path: Path) -> None:
    def say(prompt: str, k: int) -> dict[str, object]:
        return choice(f"Line {k}", [(f"Line {k}", -1.0)]) | {"finish_reason": "MAX_TOKENS" if k else "STOP"}

    with LoopbackServer(say=say) as server:
        ask(tmp_path, write_instructions(tmp_path / "in.jsonl", 1), server, ranker__n=2)
    responses = load_source(Source(str(tmp_path / "out.jsonl"), "score")).records[0].responses
    assert {r.text: r.complete for r in responses} == {"Line 0": True, "Line 1": False}


def test_what_was_paid_for_is_found_under_its_old_key() -> None:
    teacher = OpenAITeacher(model="m")
    shaped = {"endpoint": "chat", "template": "alpaca", "temperature": 1.0, "max_tokens": 512, "extra_body": None}
    assert teacher.key(Record("0", "Why?"), 4, seed=0) == key_of(
        teacher="openai", model="m", **shaped, prompt="Why?", n=4
    )


def odd(server: LoopbackServer, change: Callable[[dict[str, Any]], Any], prompt: str = "Question 2") -> None:
    """Have ``prompt`` answered by what ``change`` makes of the reply."""
    value = server._value

    def reply(body: dict[str, Any], asked: str, *rest: Any) -> Any:
        return change(value(body, asked, *rest)) if asked == prompt else value(body, asked, *rest)

    server._value = reply  # type: ignore[method-assign, assignment]


@pytest.mark.parametrize("value", [None, float("-inf"), float("nan"), 3.0, "x"])
def test_one_token_without_a_number_leaves_one_answer_out_and_is_paid_for_once(tmp_path: Path, value: Any) -> None:
    def change(reply: dict[str, Any]) -> dict[str, Any]:
        reply["choices"][1]["logprobs"]["content"][2]["logprob"] = value
        return reply

    source = write_instructions(tmp_path / "in.jsonl")
    with LoopbackServer() as server:
        odd(server, change)
        for _ in range(2):
            figures = ask(tmp_path, source, server)
            assert figures["lists"] == 6 and set(server.asked.values()) == {1}
    row = read_rows(tmp_path / "out.jsonl")[2]
    assert len(row["responses"]) == 3 and [entry["reason"] for entry in row["dropped"]] == [NO_NUMBER]


def test_one_answer_without_log_probabilities_stops_nothing(tmp_path: Path) -> None:
    source = write_instructions(tmp_path / "in.jsonl")
    with LoopbackServer() as server:
        odd(server, lambda reply: reply | {"choices": [{**c, "logprobs": None} for c in reply["choices"]]})
        figures = ask(tmp_path, source, server, teacher__concurrency=1)
        assert (figures["lists"], figures["unusable"]) == (5, 1) and set(server.asked.values()) == {1}


def test_the_first_replies_without_log_probabilities_are_kept_and_asked_again_a_few_times(tmp_path: Path) -> None:
    source = write_instructions(tmp_path / "in.jsonl", 1)
    with LoopbackServer(logprobs=False) as server:
        for count in (1, 2):
            with pytest.raises(RunError, match="--logits_all true"):
                ask(tmp_path, source, server, teacher__retries=1)
            assert sum(server.asked.values()) == count == len(read_rows(tmp_path / "out.store" / "unusable.jsonl"))
        with suppress(RunError):  # there is no list
            ask(tmp_path, source, server, teacher__retries=1)
        assert sum(server.asked.values()) == 2
    assert "2 replies could not be used" in read_rows(tmp_path / "out.unusable.jsonl")[0]["reason"]


@pytest.mark.parametrize("choices", [[], None, "x", [None, 7], [{"message": {"content": 7}}] * 4])
def test_useless_replies_are_bounded_over_restarts(tmp_path: Path, choices: Any) -> None:
    source = write_instructions(tmp_path / "in.jsonl")
    with LoopbackServer() as server:
        odd(server, lambda reply: reply | {"choices": choices})
        for most in (7, 7, 8, 8):  # a run that may send no more, then one that may
            with pytest.raises(RunError, match="max_requests=7") if most == 7 else nullcontext():
                ask(tmp_path, source, server, max_requests=most, teacher__concurrency=1, teacher__retries=2)
            assert sum(server.asked.values()) == most
    line = read_rows(tmp_path / "out.unusable.jsonl")[0]
    assert line["id"] == "2" and "3 replies could not be used" in line["reason"]
    assert json.loads((tmp_path / "out.report.json").read_text())["usage"]["requests"] == 8


def test_content_in_parts_is_joined(tmp_path: Path) -> None:
    def say(prompt: str, k: int) -> dict[str, Any]:
        made = choice(f"Line {k}", [("Line ", -1.0), (str(k), -0.5)])
        made["message"] = {"content": [{"type": "text", "text": "Line "}, {"type": "text", "text": str(k)}]}
        return made

    with LoopbackServer(say=say) as server:
        assert ask(tmp_path, write_instructions(tmp_path / "in.jsonl", 1), server)["lists"] == 1
    assert {r["text"] for r in read_rows(tmp_path / "out.jsonl")[0]["responses"]} == {f"Line {k}" for k in range(4)}


def test_a_server_that_dies_leaves_rows_missing_and_the_same_command_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_instructions(tmp_path / "in.jsonl")
    with LoopbackServer(lambda prompt, nth: OK if int(prompt[-1]) < 3 else {"kind": "close"}) as server:
        with pytest.raises(RunError, match=r"3 got no answer .*\n3 of 6 instructions are missing"):
            ask(tmp_path, source, server, teacher__retries=0, teacher__concurrency=1)
        assert "next: python train.py" not in capsys.readouterr().out
        report = json.loads((tmp_path / "out.report.json").read_text())
        assert (report["lists"], report["unusable"], report["missing"]) == (3, 0, 3)
        assert sum(report["failed"].values()) == 3
        server.plan = lambda prompt, nth: OK
        assert ask(tmp_path, source, server)["lists"] == 6 and sum(server.asked.values()) == 9


def test_a_dead_server_with_one_row(tmp_path: Path) -> None:
    with LoopbackServer() as server:
        pass
    with pytest.raises(RunError, match="connection failed"):
        ask(tmp_path, write_instructions(tmp_path / "in.jsonl", 1), server, teacher__retries=0)


def test_a_deleted_ledger_is_said_and_the_budget_still_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_instructions(tmp_path / "in.jsonl", 8)
    budget = {"teacher__price": "[1000,2000]", "teacher__concurrency": 1, "teacher__max_tokens": 20}
    with LoopbackServer() as server:
        # "Question 0" is 26 tokens at most, four answers are 80; really 2 and 16: at most $0.186, really $0.034
        with pytest.raises(RunError, match="max_cost"):
            ask(tmp_path, source, server, max_cost=0.3, **budget)
        assert sum(server.asked.values()) == 4
        (tmp_path / "out.store" / "requests.jsonl").unlink()
        with pytest.raises(RunError, match=r"max_cost=0.3 reached \(\$0.14 spent"):
            ask(tmp_path, source, server, max_cost=0.3, **budget)
        assert sum(server.asked.values()) == 4
    assert "lacks 4 of 4 requests that were answered. $0.14 is counted" in capsys.readouterr().out
    assert "ledger" in json.loads((tmp_path / "out.report.json").read_text())["notes"][0]
