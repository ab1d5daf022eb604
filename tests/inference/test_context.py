"""What a collection's parts share: a run that was stopped asks nothing more; usage summed from the store."""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.inference.http_server import LoopbackServer
from tuna.console import Progress
from tuna.errors import RunError
from tuna.inference.context import Context, Replies, used
from tuna.inference.cost import Budget, Price, Prices
from tuna.inference.engine import Request
from tuna.inference.server import Connection, Server, StopRun, TryAgain
from tuna.inference.store import Store

pytestmark = pytest.mark.once  # computes nothing that kernels could round


def ask(context: Context, server: LoopbackServer, count: int, price: Price | None = None) -> list[str]:
    answered: list[str] = []

    def done(request: Request, body: dict[str, Any]) -> Iterable[Request]:
        answered.append(request.key)
        return ()

    requests = (
        Request(str(n), 0, {"model": "m", "messages": [{"role": "user", "content": f"p{n}"}]}, 10, 10)
        for n in range(count)
    )
    asked = Server(Connection(server.url, concurrency=1), "chat", "m")
    context.ask(asked, requests, price, done, Progress("answers", count, stream=io.StringIO()))
    return answered


def test_a_stopped_run_keeps_why_and_asks_nothing_more(tmp_path: Path) -> None:
    with Store(tmp_path / "s") as store, LoopbackServer() as server:
        context = Context(store, Budget(store.journal("requests"), max_requests=2), Prices())
        assert ask(context, server, 5) == ["0", "1"]
        assert "max_requests=2" in str(context.stopped)
        assert ask(context, server, 5) == [] and len(server.bodies) == 2


def test_max_cost_without_a_price_is_refused_only_where_something_is_asked(tmp_path: Path) -> None:
    with Store(tmp_path / "s") as store, LoopbackServer() as server:
        context = Context(store, Budget(store.journal("requests"), max_cost=1.0), Prices())
        assert ask(context, server, 0) == []
        with pytest.raises(RunError, match=r"the price of 'm' is not known.*conf/prices/listed.yaml"):
            ask(context, server, 1)
        assert not server.bodies and ask(context, server, 1, Price(1, 2)) == ["0"]


def test_a_ledger_that_is_gone_is_told_and_counted_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Four answers of 1,000 + 1,000 tokens at $1 and $2 a thousand, and one unusable reply of $7."""
    price = Price(1000, 2000)
    with Store(tmp_path / "s") as store:
        budget = Budget(store.journal("requests"))
        for n in range(4):
            budget.settle(budget.reserve(9.0), 3.0)
            usage = {"prompt_tokens": 1000, "completion_tokens": 1000}
            store.journal("answers").append({"key": str(n), "usage": usage})
        budget.settle(budget.reserve(9.0), 7.0)
        store.journal("unusable").append({"key": "4", "part": 0, "reason": "", "usage": {}, "cost": 7.0})
        context = Context(store, budget, Prices())
        context.check_ledger({"answers": price, "verdicts": None})
        assert not context.notes and budget.spent == 19.0
    ledger = tmp_path / "s" / "requests.jsonl"
    lines = ledger.read_bytes().split(b"\n")
    for kept, lost, cost in ((0, 5, 19.0), (4, 3, 13.0)):  # of the two that are left, $6
        ledger.write_bytes(b"\n".join([*lines[:kept], b""] if kept else []))
        for start in range(2):
            with Store(tmp_path / "s") as store:
                context = Context(store, Budget(store.journal("requests")), Prices())
                context.check_ledger({"answers": price, "verdicts": None})
                assert context.budget.requests == 5 and context.budget.spent == pytest.approx(19.0)
                assert len(context.notes) == (start == 0)
        said = capsys.readouterr().out
        assert f"lacks {lost} of 5 requests that were answered. ${cost:.2f} is counted" in said


def test_what_failed_leaves_the_run_unfinished(tmp_path: Path) -> None:
    with Store(tmp_path / "s") as store:
        context = Context(store, Budget(store.journal("requests")), Prices())
        assert context.unfinished is None
        context.failed = {"a": "500", "b": "500", "c": "no answer"}
        assert context.unfinished == "3 got no answer (2 of them: 500)"


def test_real_usage_is_summed_over_all_lines() -> None:
    lines: list[dict[str, Any]] = [
        {"usage": {"prompt_tokens": 100, "completion_tokens": 10}}, {"usage": None},
        {"usage": {"prompt_tokens": 50, "completion_tokens": 0}},
        {"usage": ["x"]}, {"usage": {"prompt_tokens": "7", "completion_tokens": -7}},
    ]  # fmt: skip
    found = used(lines, Price(2, 20))
    assert (found.requests, found.prompt_tokens, found.completion_tokens) == (5, 150, 10)
    assert found.cost == pytest.approx((150 * 2 + 10 * 20) / 1e6)
    assert used(lines, None).cost is None


pytestmark = pytest.mark.once
REQUEST = Request("k", 0, {}, 10, 10)
USAGE = {"prompt_tokens": 1_000_000, "completion_tokens": 0}


class Desk:
    """Replies over a store in ``folder``; ``notes`` of it; ``fault`` is what reading a reply raises."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.folder, self.changes = folder, changes
        self.notes: list[str] = []
        self.fault: Exception | None = None

    def __enter__(self) -> "Desk":
        self.store = Store(self.folder)
        self.store.__enter__()
        server = Server(Connection("http://127.0.0.1:9/v1", **{"retries": 2, **self.changes}), "chat", "asked")
        self.replies = Replies(self.store, server, Price(1, 1), self.done, self.notes.append)
        return self

    def __exit__(self, *_: object) -> None:
        self.store.__exit__()

    def done(self, request: Request, body: dict[str, Any]) -> Iterable[Request]:
        if self.fault is not None:
            raise self.fault
        return ()


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "plain-secret-value")


def test_an_unusable_reply_is_kept_as_it_came_and_given_up_over_restarts(tmp_path: Path) -> None:
    for number in range(3):
        with Desk(tmp_path / "s") as desk:
            assert desk.replies.given_up(REQUEST) is None
            desk.fault = TryAgain("no choices", billed=True)
            with pytest.raises(TryAgain):
                desk.replies.take(
                    REQUEST, {"choices": [], "usage": USAGE, "n": float("nan"), "x": "plain-secret-value"}
                )
            assert len(desk.store.journal("unusable")) == number + 1
    with Desk(tmp_path / "s") as desk:
        assert "3 replies could not be used" in (desk.replies.given_up(REQUEST) or "")
        assert desk.replies.given_up(Request("k", 1, {}, 1, 1)) is None
        line = desk.store.journal("unusable").get("k")[0]
        assert line["reason"] == "no choices" and line["cost"] == 1.0 and line["usage"] == USAGE
        assert line["body"].startswith('{"choices": []') and "plain-secret" not in line["body"]


def test_a_bug_or_a_stop_keeps_the_reply_too_and_a_full_disk_does_not(tmp_path: Path) -> None:
    with Desk(tmp_path / "s") as desk:
        for count, fault in enumerate((ZeroDivisionError("a bug"), StopRun("no logprobs"), RunError("disk full")), 1):
            desk.fault = fault
            with pytest.raises(type(fault)):
                desk.replies.take(REQUEST, {"choices": []})
            assert len(desk.store.journal("unusable")) == min(count, 2)


def test_a_reply_nested_too_deeply_is_kept(tmp_path: Path) -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    with Desk(tmp_path / "s") as desk:
        with pytest.raises(TryAgain, match="nested too deeply"):
            desk.replies.take(REQUEST, {"error": deep, "usage": deep})
        assert len(desk.store.journal("unusable").get("k")) == 1


def test_a_fault_with_status_200_that_was_billed(tmp_path: Path) -> None:
    with Desk(tmp_path / "s") as desk, pytest.raises(TryAgain, match="the server reports overloaded"):
        desk.replies.take(REQUEST, {"error": "overloaded", "usage": USAGE})


def test_another_model_than_asked_is_told_in_every_run_and_a_third_one_stops(tmp_path: Path) -> None:
    told = "server: asked for model 'asked', answered as '/models/other'"
    with Desk(tmp_path / "s") as desk:
        for name in ("/models/other", None, 7, "", "/models/other"):
            desk.replies.take(REQUEST, {"model": name})
        assert desk.notes == [told]
    with Desk(tmp_path / "s") as desk:
        assert desk.notes == [told]
        with pytest.raises(StopRun, match=r"answered as '/models/other' and now answers as 'asked'.*mixed_models=true"):
            desk.replies.take(REQUEST, {"model": "asked"})
    with Desk(tmp_path / "s", mixed_models=True) as desk:
        desk.replies.take(REQUEST, {"model": "asked"})
    with Desk(tmp_path / "s") as desk:  # it is known now
        desk.replies.take(REQUEST, {"model": "asked"})


def test_a_dated_name_is_the_same_model(tmp_path: Path) -> None:
    with Desk(tmp_path / "s") as desk:
        desk.replies.take(REQUEST, {"model": "gpt-4o-2024-08-06"})
        desk.replies.take(REQUEST, {"model": "gpt-4o"})
        with pytest.raises(StopRun, match="gpt-4o-2024-05-13"):
            desk.replies.take(REQUEST, {"model": "gpt-4o-2024-05-13"})
