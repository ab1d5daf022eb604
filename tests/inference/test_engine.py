"""The engine against a server that misbehaves on command: nothing lost, nothing asked twice, the budget kept."""

import asyncio
import io
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.inference.http_server import OK, Action, LoopbackServer, Plan, chaos
from tuna.console import Progress
from tuna.inference.cost import Budget, BudgetReached, Price
from tuna.inference.engine import Engine, Request
from tuna.inference.server import Connection, Server, SetAside, StopRun, TryAgain
from tuna.inference.store import Journal

pytestmark = pytest.mark.once


class Run:
    """One engine over one loopback server; ``answers`` and ``aside`` by key."""

    def __init__(self, folder: Path, server: LoopbackServer, price: Price | None = None, **changes: Any) -> None:
        limits = {key: changes.pop(key) for key in ("max_cost", "max_requests") if key in changes}
        self.answers: dict[str, str] = {}
        self.aside: dict[str, str] = {}
        self.refused: set[str] = set()  # those of ``aside`` for good
        self.given_up: set[str] = set()
        self.budget = Budget(Journal(folder / f"ledger{id(self)}"), **limits)
        settings: dict[str, Any] = {"concurrency": 4, "timeout": 5.0, "retries": 4, "max_wait": 5.0} | changes
        self.connection = Connection(server.url, **settings)
        self.price = price

    def done(self, request: Request, body: dict[str, Any]) -> Iterable[Request]:
        if not body["choices"]:
            raise TryAgain("no choices")
        message = body["choices"][0]["message"]
        if message["refusal"]:
            raise SetAside("refusal")
        assert request.key not in self.answers
        self.answers[request.key] = message["content"]
        return ()

    def set_aside(self, request: Request, reason: str, passing: bool) -> None:
        self.aside[request.key] = reason
        if not passing:
            self.refused.add(request.key)

    def __call__(self, count: int = 20) -> "Run":
        requests = [
            Request(str(n), 0, {"model": "m", "messages": [{"role": "user", "content": f"prompt {n}"}]}, 20, 20)
            for n in range(count)
        ]
        self.progress = Progress("answers", count, stream=io.StringIO())
        self.engine = Engine(
            server=Server(self.connection, "chat", "m"), budget=self.budget, price=self.price, done=self.done,
            aside=self.set_aside, progress=self.progress, first_wait=0.01,
            given_up=lambda request: "given up" if request.key in self.given_up else None,
        )  # fmt: skip
        asyncio.run(self.engine.run(requests))
        return self


def once(action: Action, prompt: str = "prompt 3") -> Plan:
    return lambda asked, nth: action if asked == prompt and nth == 0 else OK


def always(action: Action, prompt: str | None = None) -> Plan:
    return lambda asked, nth: action if prompt in (None, asked) else OK


def test_all_are_answered_once_within_the_concurrency(tmp_path: Path) -> None:
    with LoopbackServer(latency=0.02) as server:
        run = Run(tmp_path, server)()
        assert len(run.answers) == 20 and set(server.asked.values()) == {1}
        assert server.most == 4 and run.budget.requests == 20


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 500}, {"kind": "status", "status": 503}, {"kind": "status", "status": 429},
        {"kind": "status", "status": 408}, {"kind": "cut"}, {"kind": "close"}, {"kind": "bad_json"}, {"kind": "empty"},
        {"kind": "status", "status": 200, "body": {"error": "busy"}}, {"kind": "status", "status": 200, "body": [1]},
        {"kind": "slow", "seconds": 4.0},
    ],
)  # fmt: skip
def test_what_passes_is_tried_again_and_nothing_else_is(tmp_path: Path, fault: Action) -> None:
    with LoopbackServer(once(fault)) as server:
        run = Run(tmp_path, server, timeout=1.5)(8)
        assert len(run.answers) == 8 and not run.aside
        assert server.asked.pop("prompt 3") == 2 and set(server.asked.values()) == {1}
        assert run.budget.requests == 9


def test_retry_after_is_obeyed_by_all_workers(tmp_path: Path) -> None:
    wait = {"kind": "status", "status": 429, "headers": {"retry-after": "0.4"}}
    with LoopbackServer(once(wait, "prompt 0")) as server:
        run = Run(tmp_path, server, concurrency=1)(3)
        assert len(run.answers) == 3
        assert server.times[1] - server.times[0] >= 0.39


@pytest.mark.parametrize("value", ["999", "Wed, 21 Oct 2099 07:28:00 GMT"])
def test_a_wait_beyond_max_wait_stops_and_says_so(tmp_path: Path, value: str) -> None:
    with LoopbackServer(
        once({"kind": "status", "status": 429, "headers": {"retry-after": value}}, "prompt 5")
    ) as server:
        run = Run(tmp_path, server, concurrency=1)
        with pytest.raises(StopRun, match="max_wait=5"):
            run()
        assert len(run.answers) == 5


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"kind": "refusal"}, "refusal"),
        ({"kind": "status", "status": 400, "body": {"error": {"code": "content_filter"}}}, "content filter"),
        ({"kind": "status", "status": 400, "body": {"error": {"message": "context length"}}}, "context length"),
        ({"kind": "status", "status": 500}, "no answer after 5 tries"),
    ],
)  # fmt: skip
def test_a_row_that_gets_no_answer_is_set_aside_alone(tmp_path: Path, fault: Action, words: str) -> None:
    with LoopbackServer(always(fault, "prompt 3")) as server:
        run = Run(tmp_path, server)()
        assert len(run.answers) == 19 and list(run.aside) == ["3"] and words in run.aside["3"]


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (401, {"error": {"message": "Incorrect API key provided: sk-very-secret-key"}}, "OPENAI_API_KEY is refused"),
        (403, {"error": {"message": "no access"}}, "is refused"),
        (404, {"error": {"message": "no such model", "code": "model_not_found"}}, "no model 'm'"),
        (400, {"error": {"message": "The model is not known", "code": "model_not_found"}}, "no model 'm'"),
        (429, {"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}, "no money left"),
    ],
)
def test_a_wrong_key_or_model_stops_at_once(tmp_path: Path, status: int, body: Any, words: str) -> None:
    with LoopbackServer(always({"kind": "status", "status": status, "body": body})) as server:
        run = Run(tmp_path, server)
        with pytest.raises(StopRun) as fault:
            run()
        assert words in str(fault.value) and "sk-very" not in str(fault.value)
        assert sum(server.asked.values()) <= 4  # one each of the workers


def test_the_key_is_never_echoed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "plain-secret-value")
    told = {"kind": "status", "status": 400, "body": {"error": {"message": "bad header plain-secret-value"}}}
    with LoopbackServer(always(told, "prompt 0")) as server:
        run = Run(tmp_path, server)()
        assert "plain-secret" not in run.aside["0"] and "<hidden>" in run.aside["0"]


def test_a_dead_server_stops_after_a_few_rows_and_not_after_all(tmp_path: Path) -> None:
    with LoopbackServer() as server:
        url = server.url
    run = Run(tmp_path, server, retries=1)
    run.connection.base_url = url
    with pytest.raises(StopRun, match="got no answer"):
        run(1000)
    assert run.budget.requests < 20 and run.budget.spent == 0


def test_a_server_that_dies_on_the_way_stops_too(tmp_path: Path) -> None:
    with LoopbackServer(lambda prompt, nth: OK if int(prompt[7:]) < 10 else {"kind": "close"}) as server:
        run = Run(tmp_path, server, retries=1)
        with pytest.raises(StopRun, match="rows in a row"):
            run(200)
        assert len(run.answers) == 10


def test_a_server_that_dies_with_few_rows_left_fails_those_as_what_may_pass(tmp_path: Path) -> None:
    """No row is left that stopping would spare: each is told to be asked again, none is refused."""
    with LoopbackServer(lambda prompt, nth: OK if int(prompt[7:]) < 3 else {"kind": "close"}) as server:
        run = Run(tmp_path, server, retries=1, concurrency=1)(6)
    assert len(run.answers) == 3 and not run.refused and list(run.aside) == ["3", "4", "5"]
    with LoopbackServer(always({"kind": "status", "status": 400})) as server:
        run = Run(tmp_path, server)(1)
    assert list(run.refused) == ["0"]


def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    to = {"location": "/elsewhere/v1/chat/completions?key=secret"}
    for status in (301, 302, 307, 308):
        with LoopbackServer(always({"kind": "status", "status": status, "headers": to})) as server:
            run = Run(tmp_path, server, concurrency=1)
            with pytest.raises(
                StopRun, match=r"redirects to http://127.*base_url=http://\S+/elsewhere/v1, if"
            ) as fault:
                run()
            assert sum(server.asked.values()) == run.budget.requests == 1 and "secret" not in str(fault.value)


def test_what_was_given_up_before_is_not_sent_and_stops_nothing(tmp_path: Path) -> None:
    with LoopbackServer() as server:
        run = Run(tmp_path, server, concurrency=1)
        run.given_up = {str(n) for n in range(19)}
        run()
        assert sum(server.asked.values()) == 1 and len(run.refused) == 19 and list(run.answers) == ["19"]


@pytest.mark.parametrize(
    "usage",
    ["x", [1], {"prompt_tokens": "2", "completion_tokens": "8"}, {"prompt_tokens": -900, "completion_tokens": -900}, {},
     {"prompt_tokens": float("nan"), "completion_tokens": 8}, {"prompt_tokens": True, "completion_tokens": True},
     {"prompt_tokens": 10**30, "completion_tokens": 8}, {"prompt_tokens": 2}],
)  # fmt: skip
def test_usage_that_says_nothing_counts_at_its_worst(tmp_path: Path, usage: Any) -> None:
    with LoopbackServer() as server:
        value = server._value
        server._value = lambda *a: value(*a) | {"usage": usage}  # type: ignore[method-assign]
        run = Run(tmp_path, server, Price(1, 2))(2)
        assert len(run.answers) == 2 and run.budget.spent == pytest.approx(2 * 60e-6)
        assert " + 0 tokens" in run.progress.line()


def test_max_requests_is_kept_to_the_last_one(tmp_path: Path) -> None:
    with LoopbackServer(chaos(0.5), latency=0.01) as server:
        run = Run(tmp_path, server, max_requests=13)
        with pytest.raises(BudgetReached, match="max_requests=13"):
            run()
        assert sum(server.asked.values()) == 13


@pytest.mark.parametrize("most", [0.0001, 0.0005, 0.001])
def test_max_cost_is_kept_whatever_is_in_flight(tmp_path: Path, most: float) -> None:
    price = Price(1, 2)  # a request costs at most 20 + 40 millionths, really 2 + 8
    costs = {"ok": 10e-6, "empty": 10e-6, "status": 0.0}  # of the others nothing is known but the most
    faults, sent = chaos(0.3), Counter[str]()

    def plan(prompt: str, nth: int) -> Action:
        action = faults(prompt, nth)
        sent[action["kind"]] += 1
        return action

    with LoopbackServer(plan, latency=0.01) as server:
        run = Run(tmp_path, server, price, max_cost=most, concurrency=16)
        with pytest.raises(BudgetReached, match="max_cost"):
            run(500)
        assert 0 < run.budget.spent <= most
        assert run.budget.spent > most - 60e-6  # and used up
        assert len(run.answers) == sent["ok"]
        assert run.budget.spent == pytest.approx(sum(costs.get(kind, 60e-6) * n for kind, n in sent.items()))


def test_what_an_answer_did_not_cost_is_free_for_others(tmp_path: Path) -> None:
    with LoopbackServer(latency=0.01) as server:
        run = Run(tmp_path, server, Price(1, 2), max_cost=0.0005, concurrency=16)
        with pytest.raises(BudgetReached, match="max_cost"):
            run(500)
        assert len(run.answers) in (44, 45)  # 10 millionths each while there are 60 left; 8 times 60 would be all


def test_nothing_is_lost_in_chaos(tmp_path: Path) -> None:
    with LoopbackServer(chaos(0.4), latency=0.005) as server:
        run = Run(tmp_path, server, concurrency=8)(150)
        assert len(run.answers) == 150 and not run.aside
        assert run.budget.requests == sum(server.asked.values()) > 170


def test_a_bug_is_not_swallowed(tmp_path: Path) -> None:
    with LoopbackServer() as server:
        run = Run(tmp_path, server)

        def bug(request: Request, body: dict[str, Any]) -> Iterable[Request]:
            raise ZeroDivisionError("a bug")

        run.done = bug  # type: ignore[method-assign]
        with pytest.raises(ZeroDivisionError):
            run()
