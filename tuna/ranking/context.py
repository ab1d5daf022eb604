"""What every part of one collection shares: the store, the budget, the prices, and the rows that got nothing."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from tuna.errors import RunError
from tuna.ranking.batch import BatchEngine
from tuna.ranking.cost import Budget, BudgetReached, Price, Prices, Usage
from tuna.ranking.engine import Done, Engine, Request
from tuna.ranking.progress import Progress
from tuna.ranking.server import Server, StopRun
from tuna.ranking.store import Store


@dataclass
class Context:
    """One collection at work.

    aside: why a key got no answer. stopped: why the run ends early, if it does; what is stored is then written out.
    """

    store: Store
    budget: Budget
    prices: Prices
    seed: int = 0
    aside: dict[str, str] = field(default_factory=dict)
    stopped: StopRun | BudgetReached | None = None

    def ask(
        self, server: Server, requests: Iterable[Request], price: Price | None, done: Done, progress: Progress
    ) -> None:
        """Send requests until all are answered, set aside, or the run has to stop."""
        if self.stopped is not None:
            return

        def aside(request: Request, reason: str) -> None:
            self.aside[request.key] = reason

        first, rest = _peek(requests)
        if first is None:
            return
        if self.budget.max_cost is not None and price is None:
            raise RunError(
                f"max_cost: the price of {server.model!r} is not known, so the budget could not be kept; "
                "next: add it to conf/prices/listed.yaml, or give price=[dollars a million input tokens, output tokens]"
            )
        engine: Engine | BatchEngine
        if server.connection.batch:
            journal = self.store.journal("batches")
            engine = BatchEngine(server, self.budget, journal, price=price, done=done, aside=aside, progress=progress)
        else:
            engine = Engine(server, self.budget, price=price, done=done, aside=aside, progress=progress, seed=self.seed)
        try:
            asyncio.run(engine.run(rest))
        except (StopRun, BudgetReached) as stopped:
            self.stopped = stopped
        finally:
            progress.close()


def _peek(requests: Iterable[Request]) -> tuple[Request | None, Iterator[Request]]:
    """The first request, and an iterator over all of them."""
    rest = iter(requests)
    first = next(rest, None)
    return first, chain([first] if first else [], rest)


def used(journal: Iterable[Mapping[str, Any]], price: Price | None) -> Usage:
    """The real usage that the lines of a journal carry, over all runs into this store."""
    total = Usage()
    for line in journal:
        usage = line.get("usage") or {}
        prompt, answer = usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0
        total = total + Usage(1, prompt, answer, price.of(prompt, answer) if price else None)
    return total
