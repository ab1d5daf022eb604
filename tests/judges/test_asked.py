"""Contextual ranking of given answers through a judge that is a server: orders, flips, retries, what is set aside."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.inference.http_server import OK, LoopbackServer
from tests.inference.make import collect, collect_nothing, read_rows, write_answers
from tuna.errors import RunError
from tuna.judges.prompted import orders_of

pytestmark = pytest.mark.once

Say = Callable[[str, int], str]


def shown(prompt: str) -> list[str]:
    """The responses of a prompt, in its order."""
    blocks = re.findall(r"###Response \d:\n(.*)", prompt)
    return blocks[: prompt.count("###Response") - 1]


def fair(prompt: str, k: int = 0) -> str:
    """A judge that puts longer answers first, whatever the order they are shown in."""
    texts = shown(prompt)
    order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
    own = len(texts)
    marks = "\n".join(f"Response {i}: [{15 - order.index(i)}]" for i in range(own))
    return f"###Response {own}:\nMine.\n\n{marks}\nResponse {own}: [15]\nrank: {[own, *order]}"


def biased(prompt: str, k: int = 0) -> str:
    """A judge that always keeps the order shown."""
    return f"rank: {list(range(len(shown(prompt))))}"


def judge(folder: Path, source: Path, server: LoopbackServer, **changes: object) -> dict[str, float]:
    settings: dict[str, object] = {"judge__model": "j", "judge__concurrency": 4, "score_only": "true"} | changes
    return collect(folder, source, "judge=openai", f"judge.base_url={server.url}", **settings)


def unjudged(folder: Path, source: Path, server: LoopbackServer) -> dict[str, Any]:
    """The report of a collection whose only list has no verdict after one attempt."""
    words = ["judge=openai", f"judge.base_url={server.url}", "judge.model=j", "judge.attempts=1", "score_only=true"]
    return collect_nothing(folder, source, *words)


def test_the_ranking_is_the_judges_whatever_the_order_shown(tmp_path: Path) -> None:
    source = write_answers(tmp_path / "in.jsonl")
    with LoopbackServer(say=fair) as server:
        assert judge(tmp_path, source, server)["lists"] == 6
        assert all(body["temperature"] == 0 and "n" not in body for body in server.bodies)
        orders = {tuple(text[-1] for text in shown(body["messages"][0]["content"])) for body in server.bodies}
        assert len(orders) > 2  # candidates are shuffled
    for row in read_rows(tmp_path / "out.jsonl"):
        assert [r["text"][-1] for r in row["responses"]] == ["3", "2", "1", "0"]
        assert [r["score"] for r in row["responses"]] == [0, -1, -2, -3]
        assert [r["judge_score"] for r in row["responses"]] == [15, 14, 13, 12]
        assert [r["source"] for r in row["responses"]] == ["m"] * 4
        told = row["judge"]
        assert told["model"] == "j" and told["disagreements"] == 0
        assert told["orders"] == [list(orders_of(4, 1, seed=0, record_id=row["id"])[0])] and told["ranks"] == [
            [3, 2, 1, 0]
        ]


def test_both_orders_agree_with_a_fair_judge_and_flip_with_a_biased_one(tmp_path: Path) -> None:
    source = write_answers(tmp_path / "in.jsonl")
    for name, say, rate in (("fair", fair, 0.0), ("biased", biased, 1.0)):
        (tmp_path / name).mkdir()
        with LoopbackServer(say=say) as server:
            figures = judge(tmp_path / name, source, server, judge__orders=2)
            assert figures["requests"] == 12
        report = (tmp_path / name / "out.report.json").read_text()
        assert f'"flip_rate": {rate}' in report
        scores = [r["score"] for r in read_rows(tmp_path / name / "out.jsonl")[0]["responses"]]
        assert scores == ([0, -1, -2, -3] if name == "fair" else [0, 0, 0, 0])  # two opposite verdicts are a tie


def test_what_is_no_verdict_is_asked_again_then_set_aside_with_its_words(tmp_path: Path) -> None:
    source = write_answers(tmp_path / "in.jsonl")
    with LoopbackServer(say=lambda p, k: "I cannot." if "Question 2\n" in p else fair(p)) as server:
        figures = judge(tmp_path, source, server)
        assert figures["lists"] == 5 and figures["unusable"] == 1 and figures["requests"] == 5 + 3
        judge(tmp_path, source, server)
        assert sum(server.asked.values()) == 8
        row = read_rows(tmp_path / "out.unusable.jsonl")[0]
        assert row["id"] == "q2" and "no rank" in row["reason"] and row["raw"] == ["I cannot."] * 3


def test_a_second_reply_may_be_a_verdict(tmp_path: Path) -> None:
    source = write_answers(tmp_path / "in.jsonl", 1)
    with LoopbackServer() as server:
        server.say = lambda prompt, k: fair(prompt) if server.asked[prompt] > 1 else "rank: [0, 0]"
        assert judge(tmp_path, source, server)["lists"] == 1 and sum(server.asked.values()) == 2


def test_a_cut_reply_is_no_verdict(tmp_path: Path) -> None:
    source = write_answers(tmp_path / "in.jsonl", 1)
    with LoopbackServer(say=fair) as server:
        original = server._choice
        server._choice = lambda *a: original(*a) | {"finish_reason": "length"}  # type: ignore[method-assign]
        assert unjudged(tmp_path, source, server)["unusable"] == 1
    assert "cut by its token limit" in (tmp_path / "out.unusable.jsonl").read_text()


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ({"message": {"content": "Plan: rank: [3, 2, 1, 0]. Resp"}, "finish_reason": "MAX_TOKENS"}, "cut by its token"),
        ({"message": {"content": None, "reasoning_content": "rank: [3, 2, 1, 0]"}}, "no rank"),
        ({"message": {"content": "<think>rank: [3, 2, 1, 0]</think>All good."}}, "no rank"),
        ({"message": {"content": 'rank: [3, 2, 1, 0]\nResponse 0 says "rank: [0, 1]".'}}, "ranks that differ"),
    ],
)
def test_what_only_looks_like_a_verdict_is_told_with_its_reason(
    tmp_path: Path, reply: dict[str, object], reason: str
) -> None:
    with LoopbackServer(say=lambda prompt, k: reply) as server:
        report = unjudged(tmp_path, write_answers(tmp_path / "in.jsonl", 1), server)
    assert report["unusable"] == 1 and reason in read_rows(tmp_path / "out.unusable.jsonl")[0]["reason"]


def test_a_judge_that_drafts_in_its_thoughts(tmp_path: Path) -> None:
    source = write_answers(tmp_path / "in.jsonl", 2)
    with LoopbackServer(say=lambda p, k: f"<think>rank: [0, 1, 2, 3]\n</think>\n{fair(p)}") as server:
        assert judge(tmp_path, source, server)["lists"] == 2
    for row in read_rows(tmp_path / "out.jsonl"):
        assert [r["text"][-1] for r in row["responses"]] == ["3", "2", "1", "0"] and row["judge"]["disagreements"] == 0


def test_duplicates_that_the_judge_leaves_out_are_recorded(tmp_path: Path) -> None:
    source = write_answers(tmp_path / "in.jsonl", 2)
    with LoopbackServer(say=lambda p, k: "rank: [2, 0]" if "Question 0\n" in p else "rank: [1]") as server:
        figures = judge(tmp_path, source, server)
    assert figures["lists"] == 1 and figures["unusable"] == 1
    row = read_rows(tmp_path / "out.jsonl")[0]
    assert len(row["responses"]) == 2 and len(row["dropped"]) == 2
    assert {d["reason"] for d in row["dropped"]} == {"left out by the judge"}
    assert "fewer than two" in (tmp_path / "out.unusable.jsonl").read_text()


def test_the_judges_own_answer_on_request(tmp_path: Path) -> None:
    source = write_answers(tmp_path / "in.jsonl", 1)
    with LoopbackServer(say=fair) as server:
        judge(tmp_path, source, server, judge__keep_reference="true")
    responses = read_rows(tmp_path / "out.jsonl")[0]["responses"]
    assert [(r["text"], r["score"], r["source"]) for r in responses[:2]] == [
        ("Mine.", 0, "j"),
        (responses[1]["text"], -1, "m"),
    ]
    assert len(responses) == 5


def test_a_refusal_is_not_asked_again(tmp_path: Path) -> None:
    source = write_answers(tmp_path / "in.jsonl", 3)
    plan = lambda prompt, nth: {"kind": "refusal"} if "Question 1\n" in prompt else OK  # noqa: E731
    with LoopbackServer(plan, say=fair) as server:
        figures = judge(tmp_path, source, server)
        assert figures["lists"] == 2 and figures["requests"] == 3


def test_a_judge_that_fails_for_one_row_leaves_it_missing_whatever_it_said_before(tmp_path: Path) -> None:
    """A reply that is no verdict, then a server that fails: the next run asks once more, and does not pay for six."""
    source = write_answers(tmp_path / "in.jsonl")

    def plan(prompt: str, nth: int) -> dict[str, object]:
        return {"kind": "status", "status": 500} if "Question 2\n" in prompt and nth in (1, 2) else OK

    with LoopbackServer(plan) as server:
        server.say = lambda p, k: "I cannot." if "Question 2\n" in p and server.asked[p] == 1 else fair(p)
        with pytest.raises(RunError, match="1 of 6 instructions are missing"):
            judge(tmp_path, source, server, judge__retries=1)
        assert not (tmp_path / "out.unusable.jsonl").exists()
        assert judge(tmp_path, source, server, judge__retries=1)["lists"] == 6 and sum(server.asked.values()) == 9


def test_a_verdict_in_parts(tmp_path: Path) -> None:
    def say(prompt: str, k: int) -> dict[str, object]:
        return {"message": {"content": [{"type": "text", "text": part} for part in fair(prompt).partition("rank:")]}}

    with LoopbackServer(say=say) as server:
        assert judge(tmp_path, write_answers(tmp_path / "in.jsonl", 1), server)["lists"] == 1


def test_another_judge_needs_rerank(tmp_path: Path) -> None:
    source = write_answers(tmp_path / "in.jsonl", 3)
    with LoopbackServer(say=fair) as server:
        judge(tmp_path, source, server)
        with pytest.raises(RunError, match=r"ranking\.model"):
            judge(tmp_path, source, server, judge__model="k")
        assert judge(tmp_path, source, server, judge__model="k", rerank="true")["lists"] == 3
        judge(tmp_path, source, server, rerank="true")  # the first judge's verdicts are still there
        assert sum(server.asked.values()) == 6


def test_answers_without_text_are_not_shown(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text(
        '{"id": "a", "instruction": "Q", "responses": [{"text": "x"}, {"text": " "}, {"text": "longer"}]}\n'
        '{"id": "b", "instruction": "Q", "responses": [{"text": "x"}, {"text": ""}]}\n'
    )
    with LoopbackServer(say=fair) as server:
        figures = judge(tmp_path, source, server)
    assert figures["lists"] == 1 and figures["unusable"] == 1
    assert read_rows(tmp_path / "out.jsonl")[0]["dropped"] == [{"text": " ", "reason": "empty answer"}]
