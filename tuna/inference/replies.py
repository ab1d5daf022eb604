"""What becomes of a reply: whatever is wrong with it, it is stored, so that it is not paid for again and again."""

import re
from collections.abc import Callable, Iterable
from typing import Any

from tuna.errors import TunaError
from tuna.inference.cost import Price, usage_cost
from tuna.inference.engine import Done, Request
from tuna.inference.server import Server, StopRun, TryAgain, told
from tuna.inference.store import Store

_MOST = 50_000  # characters of an unusable reply that are kept
_DATE = re.compile(r"-\d{4}-?\d{2}-?\d{2}$")


class Replies:
    """Stands between an engine and ``done``, which reads a reply and stores what it says.

    A reply that ``done`` cannot use goes to the journal "unusable" as it came. One request may bring ``retries`` + 1 of
    them in all runs together; then it is given up. The journal "models" keeps which model a server says that it is.
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
        """Hand a reply over; gives what follows from it.

        Raises:
            TryAgain, SetAside: it cannot be used. StopRun: nor will others be, or another model wrote it.
        """
        try:
            if body.get("error"):  # some servers report faults with status 200, and bill them
                raise TryAgain(f"the server reports {told(body['error'])}", billed=True)
            self._check_model(body.get("model"))
            return self.done(request, body)
        except Exception as error:
            if isinstance(error, StopRun) or not isinstance(error, TunaError):  # others: the disk is full
                self._keep(request, body, str(error) or type(error).__name__)
            raise

    def given_up(self, request: Request) -> str | None:
        """Why a request is not sent any more, or None."""
        found = self._unusable.read(request.key, lambda line: (line["part"], str(line["reason"])))
        reasons = [reason for part, reason in found if part == request.part]
        if len(reasons) <= self.server.connection.retries:
            return None
        return f"{len(reasons)} replies could not be used (kept in the store's unusable.jsonl); the last: {reasons[-1]}"

    def _keep(self, request: Request, body: dict[str, Any], reason: str) -> None:
        cost = usage_cost(self.price, body.get("usage"))
        self._unusable.append(
            {"key": request.key, "part": request.part, "reason": reason, "usage": body.get("usage"), "cost": cost,
             "body": told(body, _MOST)}
        )  # fmt: skip

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
    """Whether two names are of one model: equal, or one is the other's without its date.

    >>> _same("gpt-4o", "gpt-4o-2024-08-06"), _same("gpt-4o", "gpt-4o-mini")
    (True, False)
    >>> _same("gpt-4o-2024-05-13", "gpt-4o-2024-08-06")
    False
    """
    return one == other or _DATE.sub("", one) == other or one == _DATE.sub("", other)
