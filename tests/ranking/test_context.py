"""What a collection's parts share: a run that was stopped asks nothing more; usage summed from the store."""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.ranking.http_server import LoopbackServer
from tuna.errors import RunError
from tuna.ranking.context import Context, used
from tuna.ranking.cost import Budget, Price, Prices
from tuna.ranking.engine import Request
from tuna.ranking.progress import Progress
from tuna.ranking.server import Connection, Server
from tuna.ranking.store import Store


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
