"""What a collection's parts share: a run that was stopped asks nothing more; usage summed from the store."""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.inference.http_server import LoopbackServer
from tuna.console import Progress
from tuna.errors import RunError
from tuna.inference.context import Context, used
from tuna.inference.cost import Budget, Price, Prices
from tuna.inference.engine import Request
from tuna.inference.server import Connection, Server
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
