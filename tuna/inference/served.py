"""A model behind an OpenAI-compatible server that is asked: what it is sent, and what its replies are."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from annotated_types import Ge

from tuna.config.types import checked
from tuna.console import Progress
from tuna.data.fields import FieldError
from tuna.data.record import Record
from tuna.data.templates import alpaca, none
from tuna.errors import ConfigError, DataError
from tuna.inference.answers import Answer, from_choice, read_choice, read_choices
from tuna.inference.backend import Ask, Question, Round, StoredTexts, asks_of, counter, one_each
from tuna.inference.context import MOST_KEPT, Context
from tuna.inference.cost import Pair, Price, Prices, Usage, about_tokens, at_most_tokens, usage_cost
from tuna.inference.engine import Request
from tuna.inference.server import Connection, Server, StopRun, TryAgain, told
from tuna.inference.store import key_of

if TYPE_CHECKING:
    from tuna.models.source import ModelConfig

Endpoint = Literal["chat", "completions"]
Rendered = Literal["alpaca", "none"]


@checked
@dataclass
class Served(Connection):
    """A served model that is asked by chat.
    Raises: ConfigError for all values out of range, no model, and an address or key's name that cannot be used.
    """

    model: str = ""  # the model's name, as the server has it
    temperature: Annotated[float, Ge(0)] | None = 1.0  # of sampling; null sends none (some models refuse it)
    # what a request calls its limit of tokens; newer models of OpenAI want the second
    token_limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    extra_body: dict[str, Any] | None = None  # further fields of each request
    price: Pair | None = None  # dollars per million [input, output] tokens; null: from conf/prices
    endpoint: Endpoint = field(default="chat", init=False)
    template: Rendered = field(default="alpaca", init=False)
    answer_tokens: int = field(default=100, init=False)  # as expected, for the estimate

    def __post_init__(self) -> None:
        wrong = self.problems()
        if not self.model:
            wrong.append("model: missing; expected the model's name as the server has it (GET <base_url>/models)")
        if wrong:
            raise ConfigError("\n".join(wrong))
        self._one_by_one = False  # the server turned out to ignore n

    @property
    def backend(self) -> Self:
        """What is asked: itself."""
        return self

    def shaped_by(self) -> dict[str, Any]:
        """What shapes an answer, besides the ask."""
        return {
            "model": self.model, "endpoint": self.endpoint, "template": self.template,
            "temperature": self.temperature, "extra_body": self.extra_body,
        }  # fmt: skip

    def price_in(self, prices: Prices) -> Price | None:
        """Dollars per million tokens, None where they are not known."""
        found = prices.find(self.model, self.price)
        return Price(found.input / 2, found.output / 2) if found and self.batch else found

    def prompt(self, record: Record) -> str:
        """What the model reads, for keys, prices and completions; of a chat with more than one user turn as JSON.
        Raises DataError for a conversation under a template of one turn.
        """
        if self.endpoint == "chat":
            whole = record.messages or record.tools
            return json.dumps(record.question, ensure_ascii=False, sort_keys=True) if whole else record.user_turn
        try:
            return (alpaca if self.template == "alpaca" and record.template != "none" else none)(record).text
        except FieldError as error:
            raise DataError(f"{record.where or record.id}: {error}, or ask by endpoint=chat") from None

    def payload(self, record: Record, max_tokens: int, temperature: float | None, n: int = 1) -> dict[str, Any]:
        """One request's body for ``n`` answers; a server that knows no ``n`` is not told of one."""
        asked: dict[str, Any] = {"model": self.model, self.token_limit: max_tokens}
        if self.endpoint == "completions":
            asked["prompt"] = self.prompt(record)
        else:
            asked["messages"] = record.conversation
            if record.tools:
                asked["tools"] = [dict(tool) for tool in record.tools]
        more = {"temperature": temperature, "n": n if n > 1 else None, "extra_body": self.extra_body or None}
        return asked | {key: value for key, value in more.items() if value is not None}

    def remaining(self, asks: Iterable[Ask], stored: StoredTexts, context: Context) -> Usage:
        """What is still to be asked, roughly; what is drawn again comes on top."""
        missing = {ask.key: ask for ask in asks if stored.todo(ask).places}.values()
        prompt = sum(about_tokens(self.prompt(ask.record)) for ask in missing)
        answers = sum(ask.n * min(self.answer_tokens, ask.max_tokens) for ask in missing)
        return self.usage(len(missing), prompt, answers, context)

    def usage(self, requests: int, prompt_tokens: int, answer_tokens: int, context: Context) -> Usage:
        """An estimate with its price."""
        price = self.price_in(context.prices)
        cost = price.of(prompt_tokens, answer_tokens) if price else None
        return Usage(requests, prompt_tokens, answer_tokens, cost)

    def ask(self, asks: Sequence[Ask], stored: StoredTexts, context: Context) -> list[list[Answer]]:
        """The answers to each ask; none where a row was set aside or the run stopped. Each reply is stored at once."""
        distinct = {ask.key: ask for ask in asks}
        missing = {key: todo for key, ask in distinct.items() if (todo := stored.todo(ask)).places}
        progress = Progress(stored.unit, len(distinct), len(distinct) - len(missing))
        gives_logprobs = len(missing) < len(distinct)
        price = self.price_in(context.prices)

        def done(request: Request, body: Mapping[str, Any]) -> Iterable[Request]:
            nonlocal gives_logprobs
            ask, drawn = request.row
            read = self.read(body, raw=stored.raw)
            answers = read[: len(drawn.places)]
            if ask.logprobs and not gives_logprobs and (usable := [a for a in answers if a.unusable_reason is None]):
                gives_logprobs = any(a.logprob is not None or a.unscored is not None for a in usable)
                if not gives_logprobs:
                    raise StopRun(
                        f"teacher: {self.base_url or 'the server'} gives no token log-probabilities for "
                        f"{self.model!r}, which Eq. 3 needs. Next: another model, teacher.endpoint=completions, "
                        "llama-cpp-python with --logits_all true, or have a local model score given answers "
                        "(ranker=probabilistic score_only=true)"
                    )
            if drawn.trial and not stored.raw:
                answers = [replace(answer, temperature=ask.heat(drawn.trial)) for answer in answers]
            line = {"key": ask.key, "part": request.part, **stored.line(answers, drawn), **stored.told(body)}
            if (cost := usage_cost(price, body.get("usage"))) is not None:
                line["cost"] = cost
            if len(read) > len(answers) or any(a.unusable_reason or a.unscored for a in read):
                line["body"] = told(body, MOST_KEPT)  # what the answers do not show of it is not lost
            stored.journal.append(line)
            if rest := drawn.places[len(answers) :]:
                self._one_by_one = True
                return self._requests(ask, Round(drawn.trial, rest), stored)
            todo = stored.todo(ask)
            progress.update(int(not todo.places))
            return self._requests(ask, todo, stored) if todo.places and todo.trial > drawn.trial else ()

        # each when its turn comes: by then the server may have shown that it ignores n
        first = (request for key, todo in missing.items() for request in self._requests(distinct[key], todo, stored))
        context.ask(Server(self, self.endpoint, self.model), first, price, done, progress)
        return [stored.answers(ask) for ask in asks]

    def read(self, body: Mapping[str, Any], *, raw: bool = False) -> list[Answer]:
        """The answers of a reply, else TryAgain. raw: thoughts stay in the texts, log-probabilities are not read."""
        try:
            return read_choices(body, read_choice if raw else from_choice)
        except ValueError as error:
            raise TryAgain(str(error), billed=True) from None

    def _requests(self, ask: Ask, drawn: Round, stored: StoredTexts) -> Iterator[Request]:
        """One request for all places of a round, or one each."""
        prompt_tokens = at_most_tokens(self.prompt(ask.record))
        for places in [(place,) for place in drawn.places] if self._one_by_one else [drawn.places]:
            payload = self.payload(ask.record, ask.max_tokens, ask.heat(drawn.trial), len(places)) | {**ask.extra}
            part = drawn.trial * stored.part_size + places[0]
            if ask.logprobs:
                # top_logprobs: the alternatives are of no use here, but llama-cpp-python gives no logprobs without it
                payload |= {"logprobs": True, "top_logprobs": 0} if self.endpoint == "chat" else {"logprobs": 1}
            if ask.seed is not None:
                payload["seed"] = int(key_of(key=ask.key, part=part)[:7], 16)
            row = ask, Round(drawn.trial, places)
            yield Request(ask.key, part, payload, prompt_tokens, ask.max_tokens * len(places), row)


@checked
@dataclass
class ServedModel(Served):
    """A served model that answers questions. endpoint: chat gets a record's conversation and tools; completions (base
    models; the paper's text-davinci-003) get the rendered template. template: of prompts, for completions.
    answer_tokens: expected of an answer, for the estimate.
    """

    endpoint: Endpoint = "chat"
    template: Rendered = "alpaca"
    answer_tokens: int = 100


@checked
@dataclass
class ServedGeneration(ServedModel):
    """Asks a server, at temperature 0. tokenizer: a folder whose tokenizer counts tokens where a benchmark limits its
    prompts; null counts a token for three bytes, which is more than there are. reasoning: strip takes off what an
    answer holds before its last </think>, keep leaves it.
    """

    temperature: Annotated[float, Ge(0)] | None = 0.0
    tokenizer: str | None = None
    reasoning: Literal["strip", "keep"] = "strip"

    kind: ClassVar[str] = "server"
    node: ClassVar[str] = "generation"

    def identity(self) -> dict[str, Any]:
        """What shapes the figures: a tokenizer that counts decides on prompts."""
        kept = {"reasoning": "keep"} if self.reasoning == "keep" else {}
        return {**self.shaped_by(), "tokenizer": self.tokenizer, **kept}

    def shaped_by(self) -> dict[str, Any]:
        """What shapes the answer to a prompt."""
        return {"generation": "openai", **super().shaped_by()}

    def measured(self, model: "ModelConfig") -> tuple[str, str, str]:
        """Name, source and fingerprint of what is measured; a server tells no more than the model's name."""
        return self.model.rstrip("/").rpartition("/")[2], self.model, key_of(**self.shaped_by())

    def counter(self, model: "ModelConfig") -> Callable[[str], int]:
        """Tokens of a text, never too few."""
        if self.tokenizer is None:
            return lambda text: -(-len(text.encode()) // 3)
        from transformers import AutoTokenizer

        return counter(AutoTokenizer.from_pretrained(self.tokenizer))

    def _asks(self, questions: Sequence[Question], max_tokens: int) -> list[Ask]:
        base = {**self.shaped_by(), "max_tokens": max_tokens}
        return asks_of(questions, base, self.prompt, max_tokens, self.temperature)

    def estimate(self, questions: Sequence[Question], max_tokens: int, context: Context) -> Usage:
        """What is still to be asked, roughly."""
        stored = StoredTexts(context.store.journal("answers"))
        return self.remaining(self._asks(questions, max_tokens), stored, context)

    def answer(
        self, model: "ModelConfig", questions: Sequence[Question], max_tokens: int, context: Context
    ) -> list[Answer | None]:
        """One answer per question as the server wrote it, None where it refused or the run was stopped."""
        return one_each(self, self._asks(questions, max_tokens), context)
