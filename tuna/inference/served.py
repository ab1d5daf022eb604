"""A model behind an OpenAI-compatible server: what it is asked. Teacher, sampler and evaluation share it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tuna.data.fields import FieldError
from tuna.data.record import Record
from tuna.data.templates import alpaca, none
from tuna.errors import ConfigError, DataError
from tuna.inference.answers import Answer, from_choice, read_choices
from tuna.inference.cost import Price, Prices, pair_problem
from tuna.inference.server import Connection, TryAgain


@dataclass
class Served(Connection):
    """Asks for answers. A chat gets the record's conversation and tools, completions get the rendered template.

    model: as the server names it. endpoint: chat, or completions. template: the prompt of completions. token_limit: the
    limit's name in requests. answer_tokens: expected length of an answer, for the estimate. extra_body: further fields
    of each request. price: dollars a million [input, output] tokens, null: from conf/prices.

    Raises:
        ConfigError: all values out of range.
    """

    model: str = ""
    endpoint: Literal["chat", "completions"] = "chat"
    template: Literal["alpaca", "none"] = "alpaca"
    temperature: float | None = 1.0
    token_limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    answer_tokens: int = 100
    extra_body: dict[str, Any] | None = None
    price: list[float] | None = None

    def __post_init__(self) -> None:
        if wrong := self.check():
            raise ConfigError("\n".join(wrong))

    def check(self) -> list[str]:
        """All that is wrong, a line each."""
        wrong = super().check()
        if not self.model:
            wrong.append("model: missing; expected the model's name as the server has it (GET <base_url>/models)")
        if self.temperature is not None and not self.temperature >= 0:
            wrong.append(f"temperature: expected 0 or more, got {self.temperature}")
        if self.price is not None and (problem := pair_problem(self.price)):
            wrong.append(f"price: {problem}")
        return wrong

    def shaped_by(self) -> dict[str, Any]:
        """What shapes an answer, for keys and for the store's identity."""
        return {
            "model": self.model, "endpoint": self.endpoint, "template": self.template,
            "temperature": self.temperature, "extra_body": self.extra_body,
        }  # fmt: skip

    def prompt(self, record: Record) -> str:
        """What the model reads, for keys, prices and completions; of a chat with more than one user turn as JSON.

        Raises:
            DataError: a conversation under a template of one turn.
        """
        if self.endpoint == "chat":
            whole = record.messages or record.tools
            return json.dumps(record.question, ensure_ascii=False, sort_keys=True) if whole else record.user_turn
        try:
            return (alpaca if self.template == "alpaca" and record.template != "none" else none)(record).text
        except FieldError as error:
            raise DataError(f"{record.where or record.id}: {error}, or ask by endpoint=chat") from None

    def price_in(self, prices: Prices) -> Price | None:
        """Dollars a million tokens, None where they are not known."""
        found = prices.find(self.model, self.price)
        return found.half() if found and self.batch else found

    def payload(self, record: Record, max_tokens: int, temperature: float | None, n: int = 1) -> dict[str, Any]:
        """One request's body for ``n`` answers; a server that knows no ``n`` is not told of one."""
        asked: dict[str, Any] = {"model": self.model, self.token_limit: max_tokens}
        if self.endpoint == "completions":
            asked["prompt"] = self.prompt(record)
        else:
            asked["messages"] = record.conversation
            if record.tools:
                asked["tools"] = [dict(tool) for tool in record.tools]
        if temperature is not None:
            asked["temperature"] = temperature
        if n > 1:
            asked["n"] = n
        if self.extra_body:
            asked["extra_body"] = self.extra_body
        return asked

    def read(self, body: Mapping[str, Any], one: Callable[[Mapping[str, Any]], Answer] = from_choice) -> list[Answer]:
        """The answers of a reply, each choice read by ``one``.

        Raises:
            TryAgain: it has none, or they are malformed.
        """
        try:
            return read_choices(body, one)
        except ValueError as error:
            raise TryAgain(str(error), billed=True) from None


@dataclass
class ServedModel(Served):
    """A model that answers several times: the teacher, or the model being tuned. max_tokens: of one answer."""

    temperature: float = 1.0
    max_tokens: int = 512

    def __post_init__(self) -> None:
        super().__post_init__()
        self.one_by_one = False  # the server turned out to ignore n

    def check(self) -> list[str]:
        """All that is wrong, a line each."""
        wrong = super().check()
        if self.max_tokens < 1:
            wrong.append(f"max_tokens: expected 1 or more, got {self.max_tokens}")
        return wrong

    def shaped_by(self) -> dict[str, Any]:
        """What shapes an answer, for keys and for the store's identity."""
        return {**super().shaped_by(), "max_tokens": self.max_tokens}
