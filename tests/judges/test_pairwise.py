"""Comparing two answers: the marks that count, both orders, what is asked again, what is not asked at all."""

import re
from pathlib import Path

import pytest

from tests.inference.http_server import OK, Action, LoopbackServer
from tuna.data.record import Record
from tuna.inference.context import Context
from tuna.inference.cost import Budget, Prices
from tuna.inference.store import Store
from tuna.judges.asked import LocalJudge, OpenAIJudge
from tuna.judges.base import Comparison, Pair
from tuna.judges.checker import Checker
from tuna.judges.pairwise import queries_of
from tuna.judges.replies import Reply, VerdictError
from tuna.judges.spelled import parse_mark

pytestmark = pytest.mark.once  # computes nothing that kernels could round

FORMAT = "I end with [[A]] if Answer A is better, [[B]] if Answer B is better, or [[C]]."

# reply -> 1, -1, 0, or part of the reason
REPLIES: dict[str, int | str] = {
    "[[A]]": 1,
    "[[B]]": -1,
    "[[C]]": 0,
    "A is true.\n\n[[A]]\n": 1,
    "**[[B]]**": -1,
    "Final verdict: [[C]].": 0,
    "`[[ A ]]`": 1,
    "\\[\\[B\\]\\]": -1,
    "\uff3b\uff3bC\uff3d\uff3d": 0,
    "[[B]]\r\n\r\n": -1,
    "<think>It is [[A]].\n[[A]]</think>\nB names the source.\n[[B]]": -1,
    "Perhaps [[A]]?</think>[[B]]": -1,
    "[[B]]\nOnce more: [[B]]": -1,
    "<think>[[A]]": "no",
    "At first [[A]].\nOn reflection: [[B]]": "differ",
    "At first [[A]].\nOn reflection:\n[[B]]": "differ",
    'My verdict is [[A]].\nAnswer B ends so:\n"[[B]]"': "differ",
    'Answer B says "[[B]]" of itself.': "quote",
    "> [[B]]": "quote",
    "Answer B ends in\n```\n[[B]]\n```\nI cannot judge it.": "quote",
    "It says `[[A]]`, and my verdict is\n\n[[A]]": 1,
    "My verdict:\n```\n[[A]]\n```": 1,
    "[[A]]\nAnswer B says [[B]] of itself, which I ignored.": "differ",
    "[[A]]\nAnswer B ends so:\n[[B]]": "differ",
    f"{FORMAT}\nBoth are right.\n[[C]]": 0,
    "[[A]] if Answer A is better\n[[B]] if Answer B is better\n\nMine: [[B]]": -1,
    "[[A]] is my verdict, [[A]].": 1,
    "[[B]]\nAnswer B names [3] sources.": -1,
    "": "no",
    "Answer A is better.": "no",
    "[A]": "no",
    "A": "no",
    "[[D]]": "expected",
    "[[a]]": "expected",
    "[[]]": "expected",
    "[[A or B]]": "expected",
    "[[A/B]]": "expected",
    "[[A": "expected",
    "[[A]": "expected",
    "[[A]]\nNo: [[Tie]]": "expected",
    "[[A]] and [[b]]": "expected",
    "[[A]] or [[B]]": "more than one",
    FORMAT: "more than one",
    f"[[A]]\n{FORMAT}": "more than one",
}


@pytest.mark.parametrize("reply", REPLIES)
def test_marks(reply: str) -> None:
    expected = REPLIES[reply]
    if isinstance(expected, int):
        assert parse_mark(reply) == expected
    else:
        with pytest.raises(VerdictError, match=expected):
            parse_mark(reply)


@pytest.mark.parametrize("part", ["[[", "[[A]]\n", "[[A]] ", "\n", "`[[A]]` ", '"[[A', "> [[B]]\n", "<think>[[A]]"])
def test_long_replies_take_time_linear_in_their_length(part: str) -> None:
    with pytest.raises(VerdictError):
        parse_mark(part * (200_000 // len(part)) + "\n[[D]]")


def test_a_cut_reply_is_no_verdict() -> None:
    with pytest.raises(VerdictError, match="cut"):
        parse_mark("[[A]]", finished=False)


@pytest.mark.parametrize(
    ("verdicts", "outcome", "flipped"),
    [
        ((1, 1), "win", False), ((-1, -1), "lose", False), ((0, 0), "tie", False), ((1, -1), "tie", True),
        ((-1, 0), "tie", True), ((0, 1), "tie", True), ((1, None), "error", False), ((None, None), "error", False),
    ],
)  # fmt: skip
def test_outcomes(verdicts: tuple[int | None, int | None], outcome: str, flipped: bool) -> None:
    assert (Comparison(verdicts).outcome, Comparison(verdicts).flipped) == (outcome, flipped)


PAIR = Pair(Record("q", "Why?", "Say why."), "short", "a longer one")


def shown(prompt: str) -> tuple[str, str]:
    """The two answers of a prompt, in its order."""
    found = re.search(r"===== Answer A =====\n(.*)\n===== Answer B =====\n(.*)\n===== End", prompt, re.DOTALL)
    assert found is not None
    return found[1], found[2]


def longer(prompt: str, k: int = 0) -> str:
    """A judge that likes length, wherever it stands."""
    a, b = shown(prompt)
    return "[[C]]" if len(a) == len(b) else "[[A]]" if len(a) > len(b) else "[[B]]"


def compare(folder: Path, judge: OpenAIJudge, *pairs: Pair) -> tuple[list[Comparison], Context]:
    with Store(folder) as store:
        context = Context(store, Budget(store.journal("requests")), Prices())
        return judge.compare(pairs, context), context


def judge_at(server: LoopbackServer, monkeypatch: pytest.MonkeyPatch) -> OpenAIJudge:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    return OpenAIJudge(base_url=server.url, model="j", concurrency=2)


def test_the_prompt_holds_the_request_and_both_answers_each_way() -> None:
    first, second = queries_of(PAIR, {"judge": "x"})
    assert shown(first.prompt) == ("short", "a longer one") and shown(second.prompt) == ("a longer one", "short")
    assert "\nWhy?\n\nSay why.\n" in first.prompt and first.key != second.key
    assert first.read(Reply("[[A]]")).value == 1 and second.read(Reply("[[A]]")).value == -1


def test_a_conversation_stands_as_its_transcript() -> None:
    turns = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}
    query = queries_of(Pair(Record("q", "Why?", messages=turns), "short", "a longer one"), {"judge": "x"})[0]
    assert "===== Request =====\nSystem: Be brief.\n\nUser: Why?\n=====" in query.prompt


def test_reasoning_that_a_server_splits_off_is_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = {"message": {"content": None, "reasoning_content": "It is [[A]]."}}
    with LoopbackServer(say=lambda prompt, k: silent) as server:
        found, _ = compare(tmp_path, judge_at(server, monkeypatch), PAIR)
    assert found[0].outcome == "error" and "no [[A]]" in found[0].reason


def test_a_judge_of_what_is_said_and_one_of_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with LoopbackServer(say=longer) as server:
        found, _ = compare(tmp_path / "a", judge_at(server, monkeypatch), PAIR)
    assert found == [Comparison((-1, -1))]
    with LoopbackServer(say=lambda prompt, k: "[[A]]") as server:
        found, _ = compare(tmp_path / "b", judge_at(server, monkeypatch), PAIR)
    assert found == [Comparison((1, -1))] and found[0].outcome == "tie" and found[0].flipped


def test_equal_answers_tie_and_nobody_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with LoopbackServer(say=longer) as server:
        found, _ = compare(tmp_path, judge_at(server, monkeypatch), Pair(PAIR.record, "same", " same\n"))
        assert found == [Comparison((0, 0))] and not server.asked


def test_the_unreadable_is_an_error_and_asked_again_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Pair(Record("r", "How?"), "one", "three")
    with LoopbackServer(say=lambda p, k: "Neither." if shown(p)[0] == "short" else longer(p)) as server:
        judge = judge_at(server, monkeypatch)
        found, _ = compare(tmp_path, judge, PAIR, other)
        assert found[0].verdicts == (None, -1) and found[0].outcome == "error" and "no [[A]]" in found[0].reason
        assert found[0].raw == ("Neither.",) * 3 and found[1].outcome == "lose"
        assert sum(server.asked.values()) == 3 + 1 + 2
        compare(tmp_path, judge, PAIR, other)
        assert sum(server.asked.values()) == 6 + 3  # the unreadable one alone, three more times
        server.say = longer
        found, _ = compare(tmp_path, judge, PAIR, other)
        assert found[0] == Comparison((-1, -1)) and sum(server.asked.values()) == 10
        compare(tmp_path, judge, PAIR, other)
        assert sum(server.asked.values()) == 10


def test_a_refusal_is_an_error_once_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def plan(prompt: str, nth: int) -> Action:
        return {"kind": "refusal"} if shown(prompt)[0] == "short" else OK

    with LoopbackServer(plan, say=longer) as server:
        judge = judge_at(server, monkeypatch)
        found, _ = compare(tmp_path, judge, PAIR)
        assert found[0].outcome == "error" and "refusal" in found[0].reason and sum(server.asked.values()) == 2
        compare(tmp_path, judge, PAIR)
        assert sum(server.asked.values()) == 3


def test_a_stopped_run_says_what_was_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with LoopbackServer(lambda p, n: {"kind": "status", "status": 401}, say=longer) as server:
        found, context = compare(tmp_path, judge_at(server, monkeypatch), PAIR)
    assert context.stopped is not None and found[0] == Comparison((None, None), "not asked yet", asked=False)


def test_the_estimate_is_of_what_the_store_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with LoopbackServer(say=longer) as server, Store(tmp_path) as store:
        context = Context(store, Budget(store.journal("requests")), Prices({"j": [1.0, 2.0]}))
        judge = judge_at(server, monkeypatch)
        same = Pair(PAIR.record, "x", "x")
        usage = judge.estimate_pairs([PAIR, same], context)
        tokens = sum(-(-len(query.prompt) // 4) for query in queries_of(PAIR, judge.reply_identity()))
        assert (usage.requests, usage.prompt_tokens, usage.completion_tokens) == (2, tokens, 600)
        assert usage.cost == pytest.approx((tokens + 2 * 600) / 1e6)
        judge.compare([PAIR], context)
        assert judge.estimate_pairs([PAIR, same], context).requests == 0


def test_the_checker_compares_marks_and_else_rouge(tmp_path: Path) -> None:
    colour = Record("c", "Name a colour.", extra={"check": "one_of", "answers": ["red", "blue"]})
    rows = [
        (Pair(colour, "red", "dog"), (1, 1)), (Pair(colour, "dog", "blue"), (-1, -1)), (Pair(colour, "a", "b"), (0, 0)),
        (Pair(Record("d", "Q", output="one two three"), "one", "one two"), (-1, -1)),
    ]  # fmt: skip
    with Store(tmp_path) as store:
        context = Context(store, Budget(store.journal("requests")), Prices())
        found = Checker().compare([pair for pair, _ in rows], context)
        assert [comparison.verdicts for comparison in found] == [verdicts for _, verdicts in rows]
        nothing = Checker(use_rouge=False).compare([rows[3][0]], context)[0]
        assert nothing.outcome == "error" and "neither check" in nothing.reason


def test_a_local_judge_is_asked_once(tmp_path: Path) -> None:
    pairs = [Pair(Record("q", "Hi"), "x", "y"), Pair(Record("r", "Hi"), "long " * 300, "y")]
    with Store(tmp_path) as store:
        context = Context(store, Budget(store.journal("requests")), Prices())
        judge = LocalJudge(path="tiny", max_tokens=2)
        found = judge.compare(pairs, context)
        replies = [line["text"] for line in store.journal("verdicts")]
        assert len(replies) == 2 and list(found[0].raw) == replies and found[0].reason
        assert "does not fit" in found[1].reason and [c.outcome for c in found] == ["error", "error"]
        assert judge.compare(pairs[:1], context) == found[:1] and len(store.journal("verdicts")) == 2
