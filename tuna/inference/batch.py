"""OpenAI's Batch API: the same requests for half the price, answered within a day; resumed after a restart.

What is about to be submitted is written down first, under a name that the batch carries as metadata. So a restart finds
a batch again even when the kill came between submitting it and writing down its id, and nothing is submitted twice.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from tuna.console import Progress
from tuna.inference.cost import Budget, BudgetReached, Price, usage_cost, usage_of
from tuna.inference.engine import Aside, Done, GivenUp, Request
from tuna.inference.server import Server, SetAside, StopRun, TryAgain, shown, told
from tuna.inference.store import Journal, key_of

MOST_REQUESTS = 50_000  # of one batch, as OpenAI has it
MOST_BYTES = 150_000_000
_OVER = ("completed", "expired", "cancelled", "failed")
T = TypeVar("T")


def custom_id(request: Request) -> str:
    """What names a request in a batch."""
    return f"{request.key}-{request.part}"


class BatchEngine:
    """Submits requests in batches until all are answered or set aside. Arguments as those of Engine.

    journal: of the batches: their tickets, ids and ends.
    """

    def __init__(
        self,
        server: Server,
        budget: Budget,
        journal: Journal,
        *,
        price: Price | None,
        done: Done,
        aside: Aside,
        progress: Progress,
        given_up: GivenUp,
    ) -> None:
        self.server = server
        self.budget = budget
        self.journal = journal
        self.price = price
        self.done = done
        self.aside = aside
        self.progress = progress
        self.given_up = given_up
        self._tries: dict[str, int] = {}

    async def run(self, requests: Iterable[Request]) -> None:
        """Take up what an earlier run submitted, then submit the rest.

        Raises:
            StopRun: the batch or the server failed. BudgetReached: the next request does not fit.
        """
        pending = {custom_id(request): request for request in requests}
        async with self.server:
            for name in self._open():
                await self._take_up(name, pending)
            for name in list(pending):
                if (why := self.given_up(pending[name])) is not None:  # by earlier runs
                    self._give_up(name, pending, why)
            while pending:
                await self._submit(pending)

    def _open(self) -> list[str]:
        """Batches without an end."""
        names = dict.fromkeys(str(line["key"]) for line in self.journal)
        return [name for name in names if not any("over" in line for line in self.journal.get(name))]

    async def _take_up(self, name: str, pending: dict[str, Request]) -> None:
        lines = self.journal.get(name)
        tickets = dict(next((line["tickets"] for line in lines if "tickets" in line), {}))
        found = next((line["batch"] for line in lines if "batch" in line), None)
        if found is None:  # killed while submitting: did it arrive?
            listed = await self._call(lambda: self.server.client.batches.list(limit=100))
            found = next((self._of(b, "id") for b in self._of(listed, "data") if _named(b) == name), None)
        if found is None:
            for ticket in tickets.values():
                self.budget.settle(ticket, 0.0)
            self.journal.append({"key": name, "over": "never submitted"})
            return
        await self._wait(name, found, tickets, pending)

    async def _submit(self, pending: dict[str, Request]) -> None:
        """One batch of as much as fits, to its end."""
        lines: list[bytes] = []
        tickets: dict[str, str] = {}
        for name, request in pending.items():
            line = json.dumps(
                {"custom_id": name, "method": "POST", "url": f"/v1{self.server.path}", "body": _body(request)}
            )
            worst = request.worst(self.price)
            if len(lines) == MOST_REQUESTS or sum(map(len, lines)) > MOST_BYTES or not self._fits(worst, bool(lines)):
                break
            lines.append(line.encode("utf-8", "replace") + b"\n")
            tickets[name] = self.budget.reserve(worst)
        batch = f"b{len(self.journal)}-{key_of(ids=list(tickets))[:16]}"
        self.journal.append({"key": batch, "tickets": tickets})
        client = self.server.client
        endpoint: Any = f"/v1{self.server.path}"
        file = await self._call(lambda: client.files.create(file=("batch.jsonl", b"".join(lines)), purpose="batch"))
        made = await self._call(
            lambda: client.batches.create(
                input_file_id=self._of(file, "id"),
                endpoint=endpoint,
                completion_window="24h",
                metadata={"tuna": batch},
            )
        )
        identity = self._of(made, "id")
        self.journal.append({"key": batch, "batch": identity})
        await self._wait(batch, identity, tickets, pending)

    def _fits(self, worst: float, some: bool) -> bool:
        try:
            return self.budget.fits(worst)
        except BudgetReached:
            if some:
                return False
            raise

    async def _wait(self, name: str, identity: str, tickets: dict[str, str], pending: dict[str, Request]) -> None:
        """Poll until the batch is over, then read what it gave."""
        print(f"batch {identity}: {len(tickets):,} requests submitted; a restart takes it up again", flush=True)
        while True:
            found = await self._call(lambda: self.server.client.batches.retrieve(identity))
            if (status := self._of(found, "status")) in _OVER:
                break
            await asyncio.sleep(self.server.connection.poll_seconds)
        if status == "failed":
            for ticket in tickets.values():
                self.budget.settle(ticket, 0.0)
            self.journal.append({"key": name, "over": "failed"})
            errors = getattr(getattr(found, "errors", None), "data", None) or []
            said = "; ".join(told(getattr(error, "message", error)) for error in errors)
            raise StopRun(f"batch {identity} failed: {said or 'no reason given'}; nothing was answered or paid for")
        for file in (getattr(found, "output_file_id", None), getattr(found, "error_file_id", None)):
            if file:
                content = await self._call(lambda file=file: self.server.client.files.content(file))  # type: ignore[misc]
                for line in content.content.split(b"\n"):
                    self._read(_result(line), tickets, pending)
        for left, ticket in tickets.items():  # expired: neither answered nor paid for
            self.budget.settle(ticket, 0.0)
            self._again(left, pending, f"the batch is {status}, without a result for it")
        self.journal.append({"key": name, "over": status})

    def _read(self, line: dict[str, Any], tickets: dict[str, str], pending: dict[str, Request]) -> None:
        """Hand over one result; what follows from it waits for the next batch."""
        name = str(line.get("custom_id"))
        response = line["response"] if isinstance(line.get("response"), dict) else {}
        body, status = response.get("body"), response.get("status_code")
        ticket, request = tickets.pop(name, None), pending.get(name)
        answer: dict[str, Any] | None = body if status == 200 and isinstance(body, dict) else None
        cost = usage_cost(self.price, answer.get("usage")) if self.price and answer is not None else 0.0
        if ticket is not None:
            self.budget.settle(ticket, cost)
        if request is None:  # stored before the kill
            return
        if answer is None:
            self._failed(name, pending, status, told(line.get("error") or body, 200))
            return
        self.progress.update(usage=usage_of(answer, self.price))
        try:
            follow = list(self.done(request, answer))
            del pending[name]
            pending.update({custom_id(other): other for other in follow})
        except TryAgain as error:
            self._again(name, pending, str(error))
        except SetAside as error:
            self._give_up(name, pending, str(error))

    def _failed(self, name: str, pending: dict[str, Request], status: Any, said: str) -> None:
        if status in (401, 403, 404):
            raise StopRun(f"the batch's requests are refused ({status}: {said}); check key and model")
        if isinstance(status, int) and status not in (408, 409, 429) and status < 500:
            self._give_up(name, pending, f"refused by the server ({status}): {said}")
        else:
            self._again(name, pending, f"{status}: {said}")

    def _again(self, name: str, pending: dict[str, Request], reason: str) -> None:
        self._tries[name] = self._tries.get(name, 0) + 1
        if name not in pending:
            return
        if (why := self.given_up(pending[name])) is not None:
            self._give_up(name, pending, why)
        elif self._tries[name] > self.server.connection.retries:
            why = f"no answer after {self._tries[name]} tries; the last: {reason}"
            self._give_up(name, pending, why, passing=True)

    def _give_up(self, name: str, pending: dict[str, Request], reason: str, *, passing: bool = False) -> None:
        self.aside(pending.pop(name), reason, passing)
        self.progress.update(aside=1)

    def _of(self, found: object, field: str) -> Any:
        """A field of what the Batch API answered.

        Raises:
            StopRun: it has none: there is no Batch API, or another one.
        """
        if (value := getattr(found, field, None)) is None:
            raise StopRun(
                f"{shown(self.server.connection.base_url or 'the server')}: no Batch API as OpenAI has it (an answer "
                f"without {field}). Next: {self.server.connection.node}.batch=false"
            )
        return value

    async def _call(self, action: Callable[[], Awaitable[T]]) -> T:
        """One call of the Batch API, tried again while it fails in ways that pass."""
        for attempt in range(self.server.connection.retries + 1):
            try:
                return await self.server.guarded(action)
            except TryAgain as error:
                if attempt == self.server.connection.retries:
                    raise StopRun(f"the Batch API does not answer ({error}); run the same command later") from None
                wait = error.wait if error.wait is not None else 0.5 * 2**attempt
                await asyncio.sleep(min(wait, self.server.connection.max_wait))
            except SetAside as error:
                raise StopRun(f"the Batch API refuses: {error}") from None
        raise AssertionError("unreachable")


def _body(request: Request) -> dict[str, Any]:
    body = dict(request.payload)
    return body | (body.pop("extra_body", None) or {})


def _named(batch: Any) -> object:
    """The name that a batch carries, where it is one of ours."""
    metadata = getattr(batch, "metadata", None)
    return metadata.get("tuna") if isinstance(metadata, dict) else None


def _result(line: bytes) -> dict[str, Any]:
    """A line of a results file; empty where it is none."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
