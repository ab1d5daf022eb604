"""What every part of one collection shares: the store, the budget, the prices, and the rows that got nothing."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

from tuna.console import Progress
from tuna.errors import RunError
from tuna.inference.batch import BatchEngine
from tuna.inference.cost import Budget, BudgetReached, Price, Prices, Usage, dollars, usage_of
from tuna.inference.engine import Done, Engine, Request
from tuna.inference.replies import Replies
from tuna.inference.server import Server, StopRun
from tuna.inference.store import Store


@dataclass
class Context:
    """One collection at work.

    aside: why a key gets no answer, which is final. failed: why it got none in this run (the server's fault); the same
    command asks again. notes: what is to be known beside the figures. stopped: why the run ends early, if it does; what
    is stored is then written out.
    """

    store: Store
    budget: Budget
    prices: Prices
    seed: int = 0
    aside: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    stopped: StopRun | BudgetReached | None = None

    @property
    def unfinished(self) -> str | None:
        """Why the same command has something left to ask, or None."""
        if self.stopped is not None:
            return str(self.stopped)
        if not self.failed:
            return None
        reason, count = Counter(self.failed.values()).most_common(1)[0]
        return f"{len(self.failed)} got no answer ({count} of them: {reason})"

    def why(self, key: str) -> str | None:
        """Why a key got no answer, for ever or in this run."""
        return self.aside.get(key) or self.failed.get(key)

    def note(self, text: str) -> None:
        """Say something once, now and in the report."""
        if text not in self.notes:
            self.notes.append(text)
            print(f"note: {text}", flush=True)

    def ask(
        self, server: Server, requests: Iterable[Request], price: Price | None, done: Done, progress: Progress
    ) -> None:
        """Send requests until all are answered, set aside, or the run has to stop."""
        if self.stopped is not None:
            return

        def aside(request: Request, reason: str, passing: bool) -> None:
            (self.failed if passing else self.aside)[request.key] = reason

        replies = Replies(self.store, server, price, done, self.note)
        first, rest = _peek(requests)
        if first is None:
            return
        if self.budget.max_cost is not None and price is None:
            raise RunError(
                f"max_cost: the price of {server.model!r} is not known, so the budget could not be kept; "
                "next: add it to conf/prices/listed.yaml, or give price=[dollars a million input tokens, output tokens]"
            )
        shared: dict[str, Any] = {
            "price": price, "done": replies.take, "given_up": replies.given_up, "aside": aside, "progress": progress,
        }  # fmt: skip
        engine: Engine | BatchEngine
        if server.connection.batch:
            journal = self.store.journal("batches")
            engine = BatchEngine(server, self.budget, journal, **shared)
        else:
            engine = Engine(server, self.budget, seed=self.seed, **shared)
        try:
            asyncio.run(engine.run(rest))
        except (StopRun, BudgetReached) as stopped:
            self.stopped = stopped
        finally:
            progress.close()

    def used(self, prices: Mapping[str, Price | None]) -> Usage:
        """What all replies in the store used, by their own figures.

        prices: journal -> the price of what fills it.
        """
        total = Usage()
        for name, price in prices.items():
            if self._there(name):
                total = total + used((line for line in self.store.journal(name) if "usage" in line), price)
        if self._there("unusable"):
            for line in self.store.journal("unusable"):
                total = total + replace(usage_of(line, None), cost=line.get("cost") or 0.0)
        return total

    def check_ledger(self, prices: Mapping[str, Price | None]) -> None:
        """Where the ledger holds fewer requests than were answered (it was deleted or cut), count what those used."""
        lines = sum(len(self.store.journal(name)) for name in (*prices, "unusable") if self._there(name))
        if lines <= self.budget.requests:
            return
        proven = self.used(prices)
        lost = proven.requests - self.budget.requests
        if lost <= 0:
            return
        whole = proven.cost or 0.0
        cost = max(whole - self.budget.spent, whole * lost / proven.requests)
        self.budget.recover(lost, cost)
        counted = dollars(cost if proven.cost is not None else None)
        self.note(
            f"{self.store.folder}/requests.jsonl: the ledger was deleted or cut: it lacks {lost:,} of "
            f"{proven.requests:,} requests that were answered. {counted} is counted for them, by the answers' own "
            "usage; what failed or got no answer cost an amount that is unknown"
        )

    def _there(self, journal: str) -> bool:
        return (self.store.folder / f"{journal}.jsonl").exists()


def _peek(requests: Iterable[Request]) -> tuple[Request | None, Iterator[Request]]:
    """The first request, and an iterator over all of them."""
    rest = iter(requests)
    first = next(rest, None)
    return first, chain([first] if first else [], rest)


def used(journal: Iterable[Mapping[str, Any]], price: Price | None) -> Usage:
    """The real usage that the lines of a journal carry, over all runs into this store."""
    return sum((usage_of(line, price) for line in journal), Usage())
