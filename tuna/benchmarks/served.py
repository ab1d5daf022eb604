"""Greedy answers of a model behind an OpenAI-compatible server: vLLM on several GPUs, or anybody's API."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tuna.benchmarks.base import Question
from tuna.data.templates import alpaca, none
from tuna.errors import ConfigError
from tuna.ranking.context import Context
from tuna.ranking.cost import Price, Prices, Usage, about_tokens, at_most_tokens, pair_problem
from tuna.ranking.engine import Request
from tuna.ranking.progress import Progress
from tuna.ranking.server import Connection, Server, TryAgain
from tuna.ranking.store import key_of

if TYPE_CHECKING:
    from tuna.models.source import Model


@dataclass
class ServedGeneration(Connection):
    """Asks a server, at temperature 0.

    model: as the server names it. endpoint: chat (the server applies the chat template), or completions. template: the
    prompt of completions, alpaca or none. temperature: null sends none (some models refuse it). token_limit: the
    limit's name in requests. tokenizer: a folder whose tokenizer counts tokens where a benchmark limits its prompts;
    null counts a token for three bytes, which is more than there are. answer_tokens: expected length of an answer, for
    the estimate. extra_body: further fields of each request. price: dollars a million [input, output] tokens, null:
    from conf/prices.

    Raises:
        ConfigError: all values out of range.
    """

    model: str | None = None
    endpoint: Literal["chat", "completions"] = "chat"
    template: Literal["alpaca", "none"] = "alpaca"
    temperature: float | None = 0.0
    token_limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    tokenizer: str | None = None
    answer_tokens: int = 100
    extra_body: dict[str, Any] | None = None
    price: list[float] | None = None

    kind: ClassVar[str] = "server"

    def __post_init__(self) -> None:
        wrong = self.check()
        if not self.model:
            wrong.append("model: missing; give generation.model=<the model's name at the server>")
        if self.price is not None and (problem := pair_problem(self.price)):
            wrong.append(f"price: {problem}")
        if wrong:
            raise ConfigError("\n".join(wrong))

    def identity(self) -> dict[str, Any]:
        """What shapes the figures: a tokenizer that counts decides on prompts."""
        return {**self._asked_by(), "tokenizer": self.tokenizer}

    def _asked_by(self) -> dict[str, Any]:
        """What shapes the answer to a prompt."""
        return {
            "generation": "openai", "model": self.model, "endpoint": self.endpoint, "template": self.template,
            "temperature": self.temperature, "extra_body": self.extra_body,
        }  # fmt: skip

    def measured(self, model: "Model") -> tuple[str, str, str]:
        """Name, source and fingerprint of what is measured; a server tells no more than the model's name."""
        name = str(self.model)
        return name.rstrip("/").rpartition("/")[2], name, key_of(**self._asked_by())

    def counter(self, model: "Model") -> Callable[[str], int]:
        """Tokens of a text, never too few."""
        if self.tokenizer is None:
            return lambda text: -(-len(text.encode()) // 3)
        from transformers import AutoTokenizer

        tokenizer: Any = AutoTokenizer.from_pretrained(self.tokenizer)
        return lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])

    def price_in(self, prices: Prices) -> Price | None:
        """Dollars a million tokens, None where they are not known."""
        found = prices.find(str(self.model), self.price)
        return found.half() if found and self.batch else found

    def estimate(self, questions: Sequence[Question], max_tokens: int, context: Context) -> Usage:
        """What is still to be asked, roughly."""
        journal = context.store.journal("answers")
        left = [q for q in questions if not journal.get(self._key(q, max_tokens))]
        prompt = sum(about_tokens(self.prompt(question)) for question in left)
        answers = len(left) * min(self.answer_tokens, max_tokens)
        price = self.price_in(context.prices)
        return Usage(len(left), prompt, answers, price.of(prompt, answers) if price else None)

    def prompt(self, question: Question) -> str:
        """What the model reads."""
        record = question.record
        if self.endpoint == "completions":
            return (alpaca if self.template == "alpaca" and record.template != "none" else none)(record).text
        return record.instruction + (f"\n\n{record.input}" if record.input else "")

    def _key(self, question: Question, max_tokens: int) -> str:
        return key_of(
            **self._asked_by(), max_tokens=max_tokens, task=question.task, id=question.id, prompt=self.prompt(question)
        )

    def answer(
        self, model: "Model", questions: Sequence[Question], max_tokens: int, context: Context
    ) -> list[str | None]:
        """One text a question, None where the server refused or the run was stopped; asks only what the store lacks."""
        journal = context.store.journal("answers")
        keys = [self._key(question, max_tokens) for question in questions]
        missing = {k: q for k, q in zip(keys, questions, strict=True) if not journal.get(k)}
        progress = Progress("answers", len(keys), len(keys) - len(missing))

        def done(request: Request, body: dict[str, Any]) -> Iterable[Request]:
            journal.append({"key": request.key, "text": self._text(body), "usage": body.get("usage")})
            progress.update(1)
            return ()

        requests = (self._request(key, question, max_tokens) for key, question in missing.items())
        server = Server(self, self.endpoint, str(self.model))
        context.ask(server, requests, self.price_in(context.prices), done, progress)
        return [str(lines[0]["text"]) if (lines := journal.get(key)) else None for key in keys]

    def _request(self, key: str, question: Question, max_tokens: int) -> Request:
        prompt = self.prompt(question)
        asked: dict[str, Any] = {"model": self.model, self.token_limit: max_tokens}
        if self.endpoint == "chat":
            asked["messages"] = [{"role": "user", "content": prompt}]
        else:
            asked["prompt"] = prompt
        if self.temperature is not None:
            asked["temperature"] = self.temperature
        if self.extra_body:
            asked["extra_body"] = self.extra_body
        return Request(key, 0, asked, at_most_tokens(prompt), max_tokens)

    def _text(self, body: dict[str, Any]) -> str:
        try:
            choice = body["choices"][0]
            text = choice["message"]["content"] if self.endpoint == "chat" else choice["text"]
        except (KeyError, IndexError, TypeError):
            raise TryAgain("the answer has no choices", billed=True) from None
        return text.strip() if isinstance(text, str) else ""
