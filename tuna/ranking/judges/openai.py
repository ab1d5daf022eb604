"""A judge behind any OpenAI-compatible server, asked with the paper's prompt (Table 9) at temperature 0."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tuna.data.record import Record
from tuna.errors import ConfigError
from tuna.ranking.context import Context
from tuna.ranking.cost import Price, Prices, Usage, about_tokens, at_most_tokens, pair_problem
from tuna.ranking.engine import Request
from tuna.ranking.judges.base import Case, NoRuling, Ruling
from tuna.ranking.judges.prompted import Question, questions_of, rule, said
from tuna.ranking.progress import Progress
from tuna.ranking.prompt import judge_prompt
from tuna.ranking.server import Connection, Server, TryAgain


@dataclass
class OpenAIJudge(Connection):
    """Asks a server for rankings.

    model: as the server names it. temperature: 0 in the paper; null sends none (some models refuse it). max_tokens: of
    one reply, the judge's own answer included. token_limit: the limit's name in requests; OpenAI's newer models want
    max_completion_tokens. orders: 2 asks both ways round and reports how many pairs flip. attempts: replies asked for
    until one is a verdict. keep_reference: the judge's own answer becomes one more candidate. reply_tokens: expected
    length of a reply, for the estimate. extra_body: further fields of each request. price: dollars a million [input,
    output] tokens, null: from conf/prices.

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

    def __post_init__(self) -> None:
        wrong = self.check()
        for key in ("max_tokens", "attempts"):
            if getattr(self, key) < 1:
                wrong.append(f"{key}: expected 1 or more, got {getattr(self, key)}")
        if self.price is not None and (problem := pair_problem(self.price)):
            wrong.append(f"price: {problem}")
        if wrong:
            raise ConfigError("\n".join(wrong))

    def identity(self) -> dict[str, Any]:
        """What shapes its rulings."""
        return {**self._reply_identity(), "orders": self.orders, "keep_reference": self.keep_reference}

    def _reply_identity(self) -> dict[str, Any]:
        """What shapes one reply, for its key."""
        return {
            "judge": "openai", "model": self.model, "temperature": self.temperature, "max_tokens": self.max_tokens,
            "extra_body": self.extra_body,
        }  # fmt: skip

    def price_in(self, prices: Prices) -> Price | None:
        """Dollars a million tokens, None where they are not known."""
        found = prices.find(self.model, self.price)
        return found.half() if found and self.batch else found

    def estimate(self, records: Sequence[Record], n: int, answer_tokens: int, context: Context) -> Usage:
        """Every list is asked about, since what the store has is known only once the answers are there."""
        prompt = sum(about_tokens(judge_prompt(record, [""] * n)) + n * answer_tokens for record in records)
        requests = len(records) * self.orders
        price = self.price_in(context.prices)
        tokens = prompt * self.orders, requests * self.reply_tokens
        return Usage(requests, *tokens, price.of(*tokens) if price else None)

    def judge(self, cases: Sequence[Case], context: Context) -> list[Ruling | NoRuling]:
        """Ask what the store lacks, then rule."""
        asked = [questions_of(case, self._reply_identity(), self.orders, context.seed) for case in cases]
        self._ask({q.key: q for questions in asked for q in questions}, context)
        return [rule(questions, context, keep_reference=self.keep_reference) for questions in asked]

    def _ask(self, questions: dict[str, Question], context: Context) -> None:
        journal = context.store.journal("verdicts")
        missing = [question for question in questions.values() if self._wanting(question, context)]
        progress = Progress("verdicts", len(questions), len(questions) - len(missing))

        def done(request: Request, body: dict[str, Any]) -> Iterable[Request]:
            line = _read(body)
            journal.append({"key": request.key, "part": request.part, **line, "usage": body.get("usage")})
            if self._wanting(request.row, context):
                return [self._request(request.row, request.part + 1)]
            settled = said(request.row, context).verdict is not None
            progress.update(int(settled), aside=int(not settled))
            return ()

        requests = (self._request(q, len(journal.get(q.key))) for q in missing)
        context.ask(Server(self, "chat", self.model), requests, self.price_in(context.prices), done, progress)

    def _wanting(self, question: Question, context: Context) -> bool:
        """Whether there is no verdict yet, and not as many replies as may be asked for."""
        lines = context.store.journal("verdicts").get(question.key)
        if any(line.get("refused") for line in lines):
            return False
        return len(lines) < self.attempts and said(question, context).verdict is None

    def _request(self, question: Question, part: int) -> Request:
        asked: dict[str, Any] = {
            "model": self.model, "messages": [{"role": "user", "content": question.prompt}],
            self.token_limit: self.max_tokens,
        }  # fmt: skip
        if self.temperature is not None:
            asked["temperature"] = self.temperature
        if self.extra_body:
            asked["extra_body"] = self.extra_body
        return Request(question.key, part, asked, at_most_tokens(question.prompt), self.max_tokens, question)


def _read(body: dict[str, Any]) -> dict[str, Any]:
    """Text, finish_reason and perhaps why it was refused, from a chat reply."""
    try:
        choice = body["choices"][0]
        text, refusal = choice["message"].get("content"), choice["message"].get("refusal")
        reason = choice.get("finish_reason")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise TryAgain("the answer has no choices", billed=True) from None
    line: dict[str, Any] = {"text": text if isinstance(text, str) else "", "finish_reason": reason}
    if refusal or reason == "content_filter":
        line["refused"] = f"refusal: {refusal}" if refusal else "content filter"
    return line
