"""What every part of one collection shares: the store, the budget, the prices, and the rows that got nothing."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import Any

from tuna.console import Progress
from tuna.errors import RunError, TunaError
from tuna.inference.batch import BatchEngine
from tuna.inference.cost import Budget, BudgetReached, Price, Prices, Usage, dollars, undated, usage_cost, usage_of
from tuna.inference.engine import Engine, Request
from tuna.inference.server import Server, StopRun, TryAgain, told
from tuna.inference.store import Entry, Journal, Store

MOST_KEPT = 50_000  # characters of an unusable reply that are kept
Done = Callable[[Request, dict[str, Any]], Iterable[Request]]


class Replies:
    """Stands between an engine and ``done``, which reads a reply and stores what it says. Replies that it cannot use go
    to the journal "unusable"; a request that brought ``retries`` + 1 of them, in all runs together, is given up.
    """

    def __init__(
        self, store: Store, server: Server, price: Price | None, done: Done, note: Callable[[str], object]
    ) -> None:
        self.server, self.price, self.done, self.note = server, price, done, note
        self._unusable, self._models = store.journal("unusable"), store.journal("models")
        self._known = self._models.read(server.model, lambda line: str(line["model"]))
        for name in self._known:
            self._tell(name)

    def take(self, request: Request, body: dict[str, Any]) -> Iterable[Request]:
        """Hand a reply over; gives what follows from it. Raises TryAgain, SetAside or StopRun where it is of no use."""
        try:
            if body.get("error"):  # some servers report faults with status 200, and bill them
                raise TryAgain(f"the server reports {told(body['error'])}", billed=True)
            self._check_model(body.get("model"))
            return self.done(request, body)
        except Exception as error:
            if isinstance(error, StopRun) or not isinstance(error, TunaError):  # others: the disk is full
                usage, reason = body.get("usage"), str(error) or type(error).__name__
                self._unusable.append({
                    "key": request.key, "part": request.part, "reason": reason, "usage": usage,
                    "cost": usage_cost(self.price, usage), "body": told(body, MOST_KEPT),
                })  # fmt: skip
            raise

    def given_up(self, request: Request) -> str | None:
        """Why a request is not sent any more, or None."""
        found = self._unusable.read(request.key, lambda line: (line["part"], str(line["reason"])))
        reasons = [reason for part, reason in found if part == request.part]
        if len(reasons) <= self.server.connection.retries:
            return None
        return f"{len(reasons)} replies could not be used (kept in the store's unusable.jsonl); the last: {reasons[-1]}"

    def _check_model(self, given: object) -> None:
        if not isinstance(given, str) or not given.strip():
            return
        name = told(given)
        if any(_same(name, other) for other in self._known):
            return
        connection, asked = self.server.connection, self.server.model
        if self._known and not connection.mixed_models:
            raise StopRun(
                f"{connection.node}: for model={asked} the server answered as {self._known[0]!r} and now answers as "
                f"{name!r}; answers of two models are not put into one file. Next: ask for one of them by its own name "
                f"with another output=..., or {connection.node}.mixed_models=true where these are names of one model"
            )
        self._models.append({"key": asked, "model": name})
        self._known.append(name)
        self._tell(name)

    def _tell(self, name: str) -> None:
        if name != self.server.model:
            self.note(f"{self.server.connection.node}: asked for model {self.server.model!r}, answered as {name!r}")


def _same(one: str, other: str) -> bool:
    """Whether two names are of one model: equal, or one is the other's without its date."""
    return one == other or undated(one) == other or one == undated(other)


@dataclass
class Context:
    """What all parts of one collection, or of one measurement, share."""

    store: Store
    budget: Budget
    prices: Prices
    seed: int = 0
    aside: dict[str, str] = field(default_factory=dict)  # why a key gets no answer, which is final
    failed: dict[str, str] = field(default_factory=dict)  # why it got none in this run; the same command asks again
    notes: list[str] = field(default_factory=list)
    stopped: StopRun | BudgetReached | None = None  # why the run ends early; what is stored is then written out

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
        """Why a key got no answer, forever or in this run."""
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
        rest = iter(requests)
        if (first := next(rest, None)) is None:
            return
        if self.budget.max_cost is not None and price is None:
            raise RunError(
                f"max_cost: the price of {server.model!r} is not known, so the budget could not be kept; "
                "next: add it to conf/prices/listed.yaml, or give price=[input, output], dollars per million tokens"
            )
        make: Any = partial(Engine, seed=self.seed)
        if server.connection.batch:
            make = partial(BatchEngine, journal=self.store.journal("batches"))
        engine = make(
            server=server, budget=self.budget, price=price, done=replies.take, given_up=replies.given_up, aside=aside,
            progress=progress,
        )  # fmt: skip
        try:
            asyncio.run(engine.run(chain([first], rest)))
        except (StopRun, BudgetReached) as stopped:
            self.stopped = stopped
        finally:
            progress.close()

    def used(self, prices: Mapping[str, Price | None]) -> Usage:
        """What all replies in the store used, by their own figures. prices: by the journal's name."""
        total = Usage()
        for name, price in prices.items():
            total = sum((usage_of(line, price) for line in self._lines(name) if "usage" in line), total)
        return sum((replace(usage_of(line), cost=line.get("cost") or 0.0) for line in self._lines("unusable")), total)

    def check_ledger(self, prices: Mapping[str, Price | None]) -> None:
        """Where the ledger holds fewer requests than were answered (it was deleted or cut), count what those used."""
        lines = sum(map(len, map(self._lines, (*prices, "unusable"))))
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

    def _lines(self, name: str) -> Journal | tuple[Entry, ...]:
        """A journal's lines, none (and no file made) where it is not there."""
        return self.store.journal(name) if (self.store.folder / f"{name}.jsonl").exists() else ()
