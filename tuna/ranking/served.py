"""A model behind an OpenAI-compatible server that answers instructions: what the teacher and the sampler share."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tuna.data.record import Record
from tuna.data.templates import alpaca, none
from tuna.errors import ConfigError
from tuna.ranking.answers import Answer, from_choice
from tuna.ranking.cost import Price, Prices, pair_problem
from tuna.ranking.server import Connection, TryAgain


@dataclass
class ServedModel(Connection):
    """Asks for answers.

    model: as the server names it. endpoint: chat, or completions. template: the prompt of completions; a chat gets
    instruction and input as one user turn. token_limit: the limit's name in requests. answer_tokens: expected length of
    an answer, for the estimate. extra_body: further fields of each request. price: dollars a million [input, output]
    tokens, null: from conf/prices.

    Raises:
        ConfigError: all values out of range.
    """

    model: str = ""
    endpoint: Literal["chat", "completions"] = "chat"
    template: Literal["alpaca", "none"] = "alpaca"
    temperature: float = 1.0
    max_tokens: int = 512
    token_limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    answer_tokens: int = 100
    extra_body: dict[str, Any] | None = None
    price: list[float] | None = None

    def __post_init__(self) -> None:
        if wrong := self.check():
            raise ConfigError("\n".join(wrong))
        self.one_by_one = False  # the server turned out to ignore n

    def check(self) -> list[str]:
        """All that is wrong, a line each."""
        wrong = super().check()
        if not self.model:
            wrong.append("model: missing; expected the model's name as the server has it (GET <base_url>/models)")
        if self.max_tokens < 1:
            wrong.append(f"max_tokens: expected 1 or more, got {self.max_tokens}")
        if not self.temperature >= 0:
            wrong.append(f"temperature: expected 0 or more, got {self.temperature}")
        if self.price is not None and (problem := pair_problem(self.price)):
            wrong.append(f"price: {problem}")
        return wrong

    def shaped_by(self) -> dict[str, Any]:
        """What shapes an answer, for keys and for the store's identity."""
        return {
            "model": self.model, "endpoint": self.endpoint, "template": self.template,
            "temperature": self.temperature, "max_tokens": self.max_tokens, "extra_body": self.extra_body,
        }  # fmt: skip

    def prompt(self, record: Record) -> str:
        """What the model reads."""
        if self.endpoint == "completions":
            return (alpaca if self.template == "alpaca" and record.template != "none" else none)(record).text
        return record.instruction + (f"\n\n{record.input}" if record.input else "")

    def price_in(self, prices: Prices) -> Price | None:
        """Dollars a million tokens, None where they are not known."""
        found = prices.find(self.model, self.price)
        return found.half() if found and self.batch else found

    def payload(self, prompt: str, n: int, temperature: float) -> dict[str, Any]:
        """One request's body for ``n`` answers; a server that knows no ``n`` is not told of one."""
        asked: dict[str, Any] = {"model": self.model, "temperature": temperature, self.token_limit: self.max_tokens}
        if self.endpoint == "chat":
            asked["messages"] = [{"role": "user", "content": prompt}]
        else:
            asked["prompt"] = prompt
        if n > 1:
            asked["n"] = n
        if self.extra_body:
            asked["extra_body"] = self.extra_body
        return asked

    def read(self, body: Mapping[str, Any]) -> list[Answer]:
        """The answers of a reply.

        Raises:
            TryAgain: it has none, or they are malformed.
        """
        choices = body.get("choices")
        if not isinstance(choices, list) or not choices:
            raise TryAgain("the answer has no choices", billed=True)
        try:
            return [from_choice(choice) for choice in choices]
        except (ValueError, AttributeError, KeyError, TypeError) as error:
            raise TryAgain(f"the answer is malformed ({error})", billed=True) from None
