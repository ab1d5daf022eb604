"""The request engine: bounded concurrency, one retry loop. Each request sent is reserved in the budget first and
settled afterwards; ``done`` stores a finished one at once, so a kill costs what is in flight and no more.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tuna.console import Progress
from tuna.inference.cost import Budget, BudgetReached, Price, usage_cost, usage_of
from tuna.inference.server import Server, SetAside, StopRun, TryAgain

_FAULTS_IN_A_ROW = 5


@dataclass(frozen=True, slots=True)
class Request:
    """One request: what row of which key it answers, what is sent, and the most it can use."""

    key: str
    part: int  # which draws of the key it brings; see StoredTexts.part_size
    payload: Mapping[str, Any]  # the body
    prompt_tokens: int
    answer_tokens: int  # of all its answers
    row: Any = None  # what is asked about

    def worst(self, price: Price | None) -> float:
        """Dollars that it costs at most; 0 without a price."""
        return price.of(self.prompt_tokens, self.answer_tokens) if price else 0.0


@dataclass(kw_only=True)
class Sender:
    """What both ways of sending are given. done: stores a reply and gives the requests that follow from it; raises
    TryAgain when it is unusable, SetAside when it is a refusal. aside: told of a row that gets no answer, why, and
    whether that may pass. given_up: why a request is not to be sent, or None.
    """

    server: Server
    budget: Budget
    price: Price | None
    done: Callable[[Request, dict[str, Any]], Iterable[Request]]
    aside: Callable[[Request, str, bool], None]
    progress: Progress
    given_up: Callable[[Request], str | None] = lambda request: None

    def cost_of(self, body: Mapping[str, Any]) -> float | None:
        """Dollars for a reply, None where its usage does not say them."""
        return usage_cost(self.price, body.get("usage")) if self.price else 0.0


@dataclass(kw_only=True)
class Engine(Sender):
    """Sends requests until all are answered or set aside. seed: of the jitter of waits; first_wait: in seconds."""

    seed: int = 0
    first_wait: float = 0.5

    async def run(self, requests: Iterable[Request]) -> None:
        """Send all, and what follows. Raises StopRun, BudgetReached once what is in flight is answered and stored."""
        self._source = iter(requests)
        self._waiting: deque[Request] = deque()
        self._active = self._answered = self._faults = 0  # faults: rows in a row
        self._all_taken = False
        self._stop: Exception | None = None
        self._not_before = 0.0
        self._random = random.Random(self.seed)
        self._changed = asyncio.Event()
        async with self.server:
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(self.server.connection.concurrency):
                        group.create_task(self._work())
            except* Exception as several:  # a bug or a full disk: the first is enough
                raise several.exceptions[0] from None
        if self._stop is not None:
            raise self._stop

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _work(self) -> None:
        """One of the workers: takes requests until none is left and none can follow."""
        while self._stop is None:
            request = self._waiting.popleft() if self._waiting else next(self._source, None)
            if request is None:
                self._all_taken = True
                if not self._active:
                    return
                await self._changed.wait()
                continue
            self._active += 1
            try:
                self._waiting.extend(await self._answer(request))
            except (StopRun, BudgetReached) as error:
                self._stop = self._stop or error
            finally:
                self._active -= 1
                self._wake()

    async def _answer(self, request: Request) -> Iterable[Request]:
        """Ask until there is an answer: the one retry loop."""
        if (why := self.given_up(request)) is not None:  # by earlier runs
            self._set_aside(request, why)
            return ()
        reason, retries = "", self.server.connection.retries
        for attempt in range(retries + 1):
            if not await self._ready(request):
                return ()
            try:
                follow = await self._once(request)
                self._faults = 0
                self._answered += 1
                return follow
            except TryAgain as error:
                reason = str(error)
                if (why := self.given_up(request)) is not None:
                    break
                if attempt < retries:
                    await self._pause(error, attempt)
            except SetAside as error:
                self._set_aside(request, str(error), fault=error.fault)
                return ()
        told = why or f"no answer after {retries + 1} tries; the last: {reason}"
        self._set_aside(request, told, fault=True, passing=why is None)
        return ()

    async def _once(self, request: Request) -> Iterable[Request]:
        """Send, hand over, settle."""
        ticket = self.budget.reserve(request.worst(self.price))
        cost: float | None = None  # not known: its worst case
        try:
            try:
                body = await self.server.ask(request.payload)
            except (TryAgain, SetAside, StopRun) as error:
                cost = None if isinstance(error, TryAgain) and error.billed else 0.0
                raise
            cost = self.cost_of(body)
            self.progress.update(usage=usage_of(body, self.price))
            return self.done(request, body)
        finally:
            self.budget.settle(ticket, cost)
            self._wake()

    async def _ready(self, request: Request) -> bool:
        """Wait until the server lets us and the budget has room; False when the run is to stop."""
        while self._stop is None:
            if (wait := self._not_before - asyncio.get_running_loop().time()) > 0:
                await self._sleep(wait)
            elif self.budget.fits(request.worst(self.price)):
                return True
            else:
                await self._changed.wait()
        return False

    async def _pause(self, error: TryAgain, attempt: int) -> None:
        """Wait as long as the server asks, all workers together; else with growing, jittered waits, this one alone."""
        most = self.server.connection.max_wait
        if error.wait is None:
            await self._sleep(min(most, self.first_wait * 2**attempt) * self._random.uniform(0.5, 1.0))
        elif error.wait <= most:
            self._not_before = max(self._not_before, asyncio.get_running_loop().time() + error.wait)
        else:
            raise StopRun(
                f"the server asks to wait {error.wait:.0f} s, more than max_wait={most:g} ({error}); what was "
                "answered is kept. Next: run the same command later, or raise max_wait"
            )

    async def _sleep(self, seconds: float) -> None:
        """Sleep, but not on when the run is to stop."""
        end = asyncio.get_running_loop().time() + seconds
        while self._stop is None and (left := end - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(min(left, 1.0))

    def _set_aside(self, request: Request, reason: str, *, fault: bool = False, passing: bool = False) -> None:
        """One row gets no answer. StopRun: faults follow each other, and there is more to ask."""
        self.aside(request, reason, passing)
        self.progress.update(aside=1)
        self._faults = self._faults + 1 if fault else 0
        if self._all_taken and not self._waiting:
            return
        if self._faults >= _FAULTS_IN_A_ROW or (fault and not self._answered and self._faults >= 2):
            raise StopRun(
                f"{self.server.connection.base_url or 'the server'}: {self._faults} rows in a row got no answer; "
                f"the last: {reason}. What was answered is kept. Next: mend the server or the settings, "
                "and run the same command"
            )
