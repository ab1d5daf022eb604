"""A judge behind any OpenAI-compatible server, asked with the paper's prompt (Table 9) at temperature 0."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from tuna.console import Progress
from tuna.errors import ConfigError
from tuna.inference.answers import read_choice, read_choices
from tuna.inference.context import Context
from tuna.inference.cost import Price, Prices, Usage, at_most_tokens, pair_problem
from tuna.inference.engine import Request
from tuna.inference.server import Connection, Server, TryAgain
from tuna.judges.asked import AskedJudge
from tuna.judges.query import Query, said


@dataclass
class OpenAIJudge(AskedJudge, Connection):
    """Asks a server for rankings and comparisons.

    model: as the server names it. temperature: 0 in the paper; null sends none (some models refuse it). max_tokens: of
    one reply, the judge's own answer included. token_limit: the limit's name in requests; OpenAI's newer models want
    max_completion_tokens. orders: 2 asks about a list both ways round and reports how many pairs flip; two answers are
    always compared both ways. attempts: replies asked for until one is a verdict. keep_reference: the judge's own
    answer becomes one more candidate. reply_tokens: expected length of a reply, for the estimate. extra_body: further
    fields of each request. price: dollars a million [input, output] tokens, null: from conf/prices.

    Raises:
        ConfigError: all values out of range.
    """

    model: str = "gpt-4.1"
    temperature: float | None = 0.0
    max_tokens: int = 2048
    token_limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    orders: Literal[1, 2] = 1
    attempts: int = 3
    keep_reference: bool = False
    reply_tokens: int = 300
    extra_body: dict[str, Any] | None = None
    price: list[float] | None = None

    asks_again: ClassVar[bool] = True
    node: ClassVar[str] = "judge"

    def __post_init__(self) -> None:
        wrong = self.check()
        for key in ("max_tokens", "attempts"):
            if getattr(self, key) < 1:
                wrong.append(f"{key}: expected 1 or more, got {getattr(self, key)}")
        if self.price is not None and (problem := pair_problem(self.price)):
            wrong.append(f"price: {problem}")
        if wrong:
            raise ConfigError("\n".join(wrong))

    def reply_identity(self) -> dict[str, Any]:
        """What shapes one reply, for its key."""
        return {
            "judge": "openai", "model": self.model, "temperature": self.temperature, "max_tokens": self.max_tokens,
            "extra_body": self.extra_body,
        }  # fmt: skip

    def price_in(self, prices: Prices) -> Price | None:
        """Dollars a million tokens, None where they are not known."""
        found = prices.find(self.model, self.price)
        return found.half() if found and self.batch else found

    def expected(self, prompt_tokens: int, requests: int, context: Context) -> Usage:
        """What so many requests with so many prompt tokens in all will use."""
        price = self.price_in(context.prices)
        tokens = prompt_tokens, requests * self.reply_tokens
        return Usage(requests, *tokens, price.of(*tokens) if price else None)

    def ask(self, queries: Sequence[Query[Any]], context: Context, *, again: bool = False) -> None:
        """Send what the store has no readable reply to, up to ``attempts`` times."""
        journal = context.store.journal("verdicts")
        distinct = {query.key: query for query in queries}
        before = {key: len(journal.get(key)) if again else 0 for key in distinct}

        def wanting(query: Query[Any]) -> bool:
            lines = journal.get(query.key)[before[query.key] :]
            if any(line.get("refused") for line in lines):
                return False
            return len(lines) < self.attempts and said(query, context).verdict is None

        missing = [query for query in distinct.values() if wanting(query)]
        progress = Progress("verdicts", len(distinct), len(distinct) - len(missing))

        def done(request: Request, body: dict[str, Any]) -> Iterable[Request]:
            line = _read(body)
            journal.append({"key": request.key, "part": request.part, **line, "usage": body.get("usage")})
            if wanting(request.row):
                return [self._request(request.row, request.part + 1)]
            settled = said(request.row, context).verdict is not None
            progress.update(int(settled), aside=int(not settled))
            return ()

        requests = (self._request(query, len(journal.get(query.key))) for query in missing)
        context.ask(Server(self, "chat", self.model), requests, self.price_in(context.prices), done, progress)

    def _request(self, query: Query[Any], part: int) -> Request:
        asked: dict[str, Any] = {
            "model": self.model, "messages": [{"role": "user", "content": query.prompt}],
            self.token_limit: self.max_tokens,
        }  # fmt: skip
        if self.temperature is not None:
            asked["temperature"] = self.temperature
        if self.extra_body:
            asked["extra_body"] = self.extra_body
        return Request(query.key, part, asked, at_most_tokens(query.prompt), self.max_tokens, query)


def _read(body: dict[str, Any]) -> dict[str, Any]:
    """Text, finish_reason and perhaps why it was refused, from a chat reply; what was reasoned apart is no verdict."""
    try:
        answer = read_choices(body, read_choice)[0]
    except ValueError as error:
        raise TryAgain(str(error), billed=True) from None
    line: dict[str, Any] = {"text": answer.text, "finish_reason": answer.finish_reason}
    return line if answer.refused is None else {**line, "refused": answer.refused}
