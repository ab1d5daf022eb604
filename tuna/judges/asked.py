"""Judges that are asked in words with the paper's prompt (Table 9): a local model, or an OpenAI-compatible server."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge

from tuna.config.types import checked
from tuna.data.record import Record
from tuna.errors import ConfigError
from tuna.inference.backend import Ask, Backend, Round, StoredTexts
from tuna.inference.context import Context
from tuna.inference.cost import Price, Prices, Usage, about_tokens
from tuna.inference.local import LocalModel
from tuna.inference.served import Served
from tuna.judges import pairwise
from tuna.judges.base import Case, Comparison, Judge, NoRuling, Pair, Ruling
from tuna.judges.lists import judge_prompt, queries_of, rule
from tuna.judges.replies import Query, said


class AskedJudge(Judge):
    """What does not depend on who is asked. A local model's greedy reply would be the same again: one attempt."""

    temperature: float | None = 0.0
    max_tokens: int
    orders: Literal[1, 2]
    keep_reference: bool
    attempts: int = 1
    reply_tokens: int = 0
    again: Mapping[str, int] = MappingProxyType({})  # {"repeat": k} of one that is asked anew, part of a reply's key

    @property
    @abstractmethod
    def backend(self) -> Backend:
        """What is asked."""

    @abstractmethod
    def reply_identity(self) -> dict[str, Any]:
        """What shapes one reply, for its key."""

    def identity(self) -> dict[str, Any]:
        """What shapes its rulings."""
        return {**self.reply_identity(), "orders": self.orders, "keep_reference": self.keep_reference}

    def repeated(self, number: int) -> Judge:
        """Itself, with other keys, and a seed for each reply."""
        if self.temperature == 0:
            raise ConfigError("at a temperature of 0")
        judge = copy(self)
        judge.again = {"repeat": number}
        return judge

    def price_in(self, prices: Prices) -> Price | None:
        """Dollars per million tokens, None where they are not known."""
        return self.backend.price_in(prices)

    def estimate(self, records: Sequence[Record], n: int, answer_tokens: int, context: Context) -> Usage:
        """Every list is asked about, since what the store has is known only once the answers are there."""
        prompt = sum(about_tokens(judge_prompt(record, [""] * n)) + n * answer_tokens for record in records)
        return self._usage(prompt * self.orders, len(records) * self.orders, context)

    def estimate_pairs(self, pairs: Sequence[Pair], context: Context) -> Usage:
        """What comparing them will use: each pair both ways, what the store has left out."""
        queries = {q.key: q for pair in pairs for q in pairwise.queries_of(pair, self.reply_identity())}
        left = [query for query in queries.values() if said(query, context).verdict is None]
        return self._usage(sum(about_tokens(query.prompt) for query in left), len(left), context)

    def judge(self, cases: Sequence[Case], context: Context) -> list[Ruling | NoRuling]:
        """Ask what the store lacks, then rule."""
        asked = [queries_of(case, self.reply_identity(), self.orders, context.seed) for case in cases]
        self._put([query for queries in asked for query in queries], context)
        kept = self.keep_reference
        return [rule(case, of_it, context, keep_reference=kept) for case, of_it in zip(cases, asked, strict=True)]

    def compare(self, pairs: Sequence[Pair], context: Context) -> list[Comparison]:
        """Ask about each pair both ways, then compare; what an earlier run could not read is asked again."""
        identity = self.reply_identity()
        asked = [pairwise.queries_of(pair, identity) for pair in pairs]
        self._put([query for queries in asked for query in queries], context, again=True)
        return [pairwise.comparison(queries, context) for queries in asked]

    def _usage(self, prompt_tokens: int, requests: int, context: Context) -> Usage:
        return self.backend.usage(requests, prompt_tokens, requests * self.reply_tokens, context)

    def _put(self, queries: Sequence[Query[Any]], context: Context, *, again: bool = False) -> None:
        """Ask what lacks a readable reply, up to ``attempts`` times. again: those of earlier runs do not count."""
        fixed = self.max_tokens, self.temperature
        asks = [
            Ask(query.key, Record(query.key, query.prompt), *fixed, cut=False, seed=self.again.get("repeat"))
            for query in queries
        ]
        self.backend.ask(asks, _Replies(context, queries, self.attempts, again=again), context)


@checked
@dataclass
class LocalJudge(LocalModel, AskedJudge):
    """Asks a Hugging Face causal LM on this machine, once per question: greedy answers do not change.
    Raises: ConfigError where ``path`` is missing, or a value is out of its range.
    """

    max_tokens: Annotated[int, Ge(1)] = 1024  # of one reply
    block: Annotated[int, Ge(1)] = 8  # questions that share a batch
    orders: Literal[1, 2] = 1  # 2 asks about a list in both orders
    keep_reference: bool = False  # the judge's own answer becomes one more candidate

    def __post_init__(self) -> None:
        if self.path is None:
            raise ConfigError("path: missing; give judge.path=<an embedded name, a folder or a hub id>")

    def reply_identity(self) -> dict[str, Any]:
        """What shapes one reply, for its key."""
        return {"judge": "local", **self.backend.shaped_by(), "max_tokens": self.max_tokens, **self.again}


@checked
@dataclass
class OpenAIJudge(Served, AskedJudge):
    """Asks any OpenAI-compatible server for rankings and comparisons, at temperature 0."""

    model: str = "gpt-4.1"
    temperature: Annotated[float, Ge(0)] | None = 0.0
    max_tokens: Annotated[int, Ge(1)] = 2048  # of one reply, the judge's own answer included
    orders: Literal[1, 2] = 1  # 2 asks about a list in both orders; two answers are always compared in both
    attempts: Annotated[int, Ge(1)] = 3  # replies asked for until one is a verdict
    keep_reference: bool = False  # the judge's own answer becomes one more candidate
    reply_tokens: int = 300  # expected length of a reply, for the estimate

    asks_again: ClassVar[bool] = True
    node: ClassVar[str] = "judge"

    def reply_identity(self) -> dict[str, Any]:
        """What shapes one reply, for its key."""
        kept = {key: getattr(self, key) for key in ("model", "temperature", "max_tokens", "extra_body")}
        return {"judge": "openai", **kept, **self.again}


class _Replies(StoredTexts):
    """Replies to queries; the next one is asked for while none is a verdict or a refusal."""

    def __init__(self, context: Context, queries: Sequence[Query[Any]], attempts: int, *, again: bool) -> None:
        super().__init__(context.store.journal("verdicts"), "verdicts")
        self.context, self.attempts = context, attempts
        self.queries = {query.key: query for query in queries}
        self.before = {key: len(self.journal.get(key)) if again else 0 for key in self.queries}

    def todo(self, ask: Ask) -> Round:
        """The next attempt, unless the replies so far settle it."""
        lines = self.journal.get(ask.key)
        fresh = lines[self.before[ask.key] :]
        settled = len(fresh) >= self.attempts or any(line.get("refused") for line in fresh)
        if settled or said(self.queries[ask.key], self.context).verdict is not None:
            return Round(len(lines), ())
        return Round(len(lines), (0,))
