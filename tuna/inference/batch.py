"""OpenAI's Batch API: the same requests for half the price, answered within a day.

What is about to be submitted is written down first, under a name that the batch carries, so a restart finds it even
when the process was killed before its id was written down, and nothing is submitted twice.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from tuna.inference.cost import BudgetReached, usage_of
from tuna.inference.engine import Request, Sender
from tuna.inference.server import SetAside, StopRun, TryAgain, body_of, shown, told
from tuna.inference.store import Journal, key_of

MOST_REQUESTS = 50_000  # of one batch, as OpenAI has it
MOST_BYTES = 150_000_000
_OVER = ("completed", "expired", "cancelled", "failed")
T = TypeVar("T")


def custom_id(request: Request) -> str:
    """What names a request in a batch."""
    return f"{request.key}-{request.part}"


@dataclass(kw_only=True)
class BatchEngine(Sender):
    """Submits requests in batches until all are answered or set aside. journal: of their tickets, ids and ends."""

    journal: Journal

    async def run(self, requests: Iterable[Request]) -> None:
        """Take up earlier batches, then submit the rest. Raises: StopRun for a failure, BudgetReached."""
        self._tries: Counter[str] = Counter()
        self._pending = {custom_id(request): request for request in requests}
        async with self.server:
            for name in dict.fromkeys(str(line["key"]) for line in self.journal):
                await self._take_up(name)
            for name in list(self._pending):
                if (why := self.given_up(self._pending[name])) is not None:  # by earlier runs
                    self._give_up(name, why)
            while self._pending:
                await self._submit()

    async def _take_up(self, name: str) -> None:
        noted = {key: value for line in self.journal.get(name) for key, value in line.items()}
        if "over" in noted:
            return
        tickets, found = dict(noted.get("tickets", {})), noted.get("batch")
        if found is None:  # killed while submitting: did it arrive?
            listed = await self._call(lambda: self.server.client.batches.list(limit=100))
            found = next((self._of(b, "id") for b in self._of(listed, "data") if _named(b) == name), None)
        if found is None:
            self._over(name, "never submitted", tickets)
        else:
            await self._wait(name, found, tickets)

    async def _submit(self) -> None:
        """One batch of as much as fits, to its end."""
        endpoint: Any = f"/v1{self.server.path}"
        lines: list[bytes] = []
        tickets: dict[str, str] = {}
        for name, request in self._pending.items():
            asked = {"custom_id": name, "method": "POST", "url": endpoint, "body": body_of(request.payload)}
            line = json.dumps(asked).encode("utf-8", "replace") + b"\n"
            worst = request.worst(self.price)
            if len(lines) == MOST_REQUESTS or sum(map(len, lines)) > MOST_BYTES:
                break
            try:
                if not self.budget.fits(worst):
                    break
            except BudgetReached:
                if lines:
                    break
                raise
            lines.append(line)
            tickets[name] = self.budget.reserve(worst)
        batch = f"b{len(self.journal)}-{key_of(ids=list(tickets))[:16]}"
        self.journal.append({"key": batch, "tickets": tickets})
        client = self.server.client
        file = await self._call(lambda: client.files.create(file=("batch.jsonl", b"".join(lines)), purpose="batch"))
        made = await self._call(
            lambda: client.batches.create(
                input_file_id=self._of(file, "id"), endpoint=endpoint, completion_window="24h", metadata={"tuna": batch}
            )
        )
        identity = self._of(made, "id")
        self.journal.append({"key": batch, "batch": identity})
        await self._wait(batch, identity, tickets)

    async def _wait(self, name: str, identity: str, tickets: dict[str, str]) -> None:
        """Poll until the batch is over, then read what it gave."""
        print(f"batch {identity}: {len(tickets):,} requests submitted; a restart takes it up again", flush=True)
        while True:
            found = await self._call(lambda: self.server.client.batches.retrieve(identity))
            if (status := self._of(found, "status")) in _OVER:
                break
            await asyncio.sleep(self.server.connection.poll_seconds)
        if status == "failed":
            self._over(name, "failed", tickets)
            errors = getattr(getattr(found, "errors", None), "data", None) or []
            said = "; ".join(told(getattr(error, "message", error)) for error in errors)
            raise StopRun(f"batch {identity} failed: {said or 'no reason given'}; nothing was answered or paid for")
        for file in (getattr(found, "output_file_id", None), getattr(found, "error_file_id", None)):
            if file:
                content = await self._call(lambda file=file: self.server.client.files.content(file))  # type: ignore[misc]
                for line in content.content.split(b"\n"):
                    self._read(_result(line), tickets)
        for left in tickets:  # expired: neither answered nor paid for
            self._again(left, f"the batch is {status}, without a result for it")
        self._over(name, status, tickets)

    def _over(self, name: str, how: str, tickets: Mapping[str, str]) -> None:
        for ticket in tickets.values():
            self.budget.settle(ticket, 0.0)
        self.journal.append({"key": name, "over": how})

    def _read(self, line: dict[str, Any], tickets: dict[str, str]) -> None:
        """Hand over one result; what follows from it waits for the next batch."""
        name = str(line.get("custom_id"))
        response = line["response"] if isinstance(line.get("response"), dict) else {}
        body, status = response.get("body"), response.get("status_code")
        ticket, request = tickets.pop(name, None), self._pending.get(name)
        answer: dict[str, Any] | None = body if status == 200 and isinstance(body, dict) else None
        if ticket is not None:
            self.budget.settle(ticket, 0.0 if answer is None else self.cost_of(answer))
        if request is None:  # stored before the kill
            return
        if answer is None:
            reason = told(line.get("error") or body, 200)
            if status in (401, 403, 404):
                raise StopRun(f"the batch's requests are refused ({status}: {reason}); check key and model")
            if isinstance(status, int) and status not in (408, 409, 429) and status < 500:
                self._give_up(name, f"refused by the server ({status}): {reason}")
            else:
                self._again(name, f"{status}: {reason}")
            return
        self.progress.update(usage=usage_of(answer, self.price))
        try:
            follow = list(self.done(request, answer))
            del self._pending[name]
            self._pending.update({custom_id(other): other for other in follow})
        except TryAgain as error:
            self._again(name, str(error))
        except SetAside as error:
            self._give_up(name, str(error))

    def _again(self, name: str, reason: str) -> None:
        self._tries[name] += 1
        if name not in self._pending:
            return
        if (why := self.given_up(self._pending[name])) is not None:
            self._give_up(name, why)
        elif self._tries[name] > self.server.connection.retries:
            why = f"no answer after {self._tries[name]} tries; the last: {reason}"
            self._give_up(name, why, passing=True)

    def _give_up(self, name: str, reason: str, *, passing: bool = False) -> None:
        self.aside(self._pending.pop(name), reason, passing)
        self.progress.update(aside=1)

    def _of(self, found: object, field: str) -> Any:
        """A field of what the Batch API answered; where it has none, there is no Batch API, or another one."""
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


def _named(batch: object) -> object:
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
