"""Judges that are asked in words, by the paper's prompt (Table 9) or one of your own: a local model, or a server."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property, partial
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Interval

from tuna.config.types import checked
from tuna.data.record import Record
from tuna.errors import ConfigError
from tuna.inference.answers import Answer
from tuna.inference.backend import Ask, Backend, Round, StoredTexts
from tuna.inference.context import Context
from tuna.inference.cost import Price, Prices, Usage, about_tokens
from tuna.inference.local import LocalModel
from tuna.inference.served import Served
from tuna.inference.store import key_of
from tuna.judges import lists, pairwise, pointwise
from tuna.judges.asking import Asking
from tuna.judges.base import Case, Comparison, Judge, NoRuling, Pair, Ruling
from tuna.judges.logits import weigh
from tuna.judges.marks import Mark, places_in
from tuna.judges.offers import Offers
from tuna.judges.prompt import CannotShow
from tuna.judges.replies import Query, said
from tuna.judges.structured import verdict_schema
from tuna.judges.tournament import Design, tournament

_DIRECT_TOKENS = 16  # of a reply that is a mark alone, {"choice": "A"} for instance


class AskedJudge(Asking, Judge):
    """What does not depend on who is asked. A local model's greedy reply would be the same again: one attempt."""

    temperature: float | None = 0.0
    max_tokens: int
    attempts: int = 1
    reply_tokens: int = 0
    lacking: ClassVar[str] = "they lack what the prompt mentions"
    again: Mapping[str, int] = MappingProxyType({})  # {"repeat": k} of one that is asked anew, part of a reply's key

    @property
    @abstractmethod
    def backend(self) -> Backend:
        """What is asked."""

    @abstractmethod
    def reply_identity(self) -> dict[str, Any]:
        """What shapes one reply, for its key."""

    def identity(self) -> dict[str, Any]:
        """What shapes its rulings; a judge that is asked as the paper's has no keys for what it does not use."""
        found = {**self.reply_identity(), "orders": self.orders, "keep_reference": self.keep_reference}
        if self._given is not None:
            form = self._form
            found |= {"prompt": f"{self.prompt_}:{key_of(text=self._given.source)[:8]}", "read": form.read}
            found |= {"probabilities": form.chances, "least_mass": form.least} if form.chances is not False else {}
            found |= {"scale": list(self.scale)} if form.kind == "pointwise" else {}
            if form.kind == "pairwise":
                found |= {"pairs": self.pairs, "comparisons": self.comparisons}
        return found

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

    def can_judge(self, record: Record) -> bool:
        """Whether the record has what the prompt mentions."""
        return self._why_not(record) is None

    def estimate(self, records: Sequence[Record], n: int, answer_tokens: int, context: Context) -> Usage:
        """Every list is asked about, since what the store has is known only once the answers are there."""
        prompt, form = self._given or lists.TABLE9, self._form
        known = [record for record in records if self.can_judge(record)]
        shown, each = (n, self.orders) if form.kind == "listwise" else (2, 2 * self._design.most(n))
        if form.kind == "pointwise":
            shown, each = 1, n
        one = (about_tokens(form.show(prompt, r, *[""] * shown)) + shown * answer_tokens for r in known)
        return self._usage(sum(one) * each, len(known) * each, context)

    def estimate_pairs(self, pairs: Sequence[Pair], context: Context) -> Usage:
        """What comparing them will use: each pair both ways (or each answer), what the store has left out."""
        queries = {q.key: q for pair in pairs if self.can_judge(pair.record) for q in self._queries(pair)}
        left = [query for query in queries.values() if said(query, context).verdict is None]
        return self._usage(sum(about_tokens(query.prompt) for query in left), len(left), context)

    def judge(self, cases: Sequence[Case], context: Context) -> list[Ruling | NoRuling]:
        """Ask what the store lacks, then rule."""
        reasons = [self._why_not(case.record) for case in cases]
        known = [case for case, reason in zip(cases, reasons, strict=True) if reason is None]
        rulings = iter(self._judge(known, context))
        return [next(rulings) if reason is None else NoRuling(reason) for reason in reasons]

    def compare(self, pairs: Sequence[Pair], context: Context) -> list[Comparison]:
        """Ask about each pair both ways, then compare; what an earlier run could not read is asked again."""
        return self._compare(pairs, context, again=True)

    def _judge(self, cases: Sequence[Case], context: Context) -> list[Ruling | NoRuling]:
        identity, form, prompt = self.reply_identity(), self._form, self._given or lists.TABLE9
        if form.kind == "pairwise":
            return tournament(cases, partial(self._compare, context=context), self._design, seed=context.seed)
        if form.kind == "pointwise":
            marked = [
                pointwise.queries_of(case.record, [a.text for a in case.answers], identity, prompt, form)
                for case in cases
            ]
            self._put(every := [query for queries in marked for query in queries], context)
            self._note_texts(every, context)
            return [pointwise.rule(queries, context) for queries in marked]
        asked = [lists.queries_of(case, identity, self.orders, context.seed, prompt, form) for case in cases]
        self._put([query for queries in asked for query in queries], context)
        kept = self.keep_reference
        return [lists.rule(case, of_it, context, keep_reference=kept) for case, of_it in zip(cases, asked, strict=True)]

    def _compare(self, pairs: Sequence[Pair], context: Context, *, again: bool = False) -> list[Comparison]:
        reasons = [self._why_not(pair.record) for pair in pairs]
        asked = [self._queries(pair) if why is None else [] for pair, why in zip(pairs, reasons, strict=True)]
        self._put(every := [query for queries in asked for query in queries], context, again=again)
        self._note_texts(every, context)
        of = pointwise.comparison if self._given is not None and self._form.kind == "pointwise" else pairwise.comparison
        return [
            of(queries, context) if why is None else Comparison((None, None), why)
            for queries, why in zip(asked, reasons, strict=True)
        ]

    def _queries(self, pair: Pair) -> list[Query[Mark]]:
        """What decides a pair: two prompts, or none for equal answers."""
        identity, form = self.reply_identity(), self._form
        if self._given is None:
            return pairwise.queries_of(pair, identity)
        if form.kind == "pairwise":
            return pairwise.queries_of(pair, identity, self._given, form)
        if pair.first.strip() == pair.second.strip():
            return []
        if form.kind == "pointwise":
            return pointwise.queries_of(pair.record, [pair.first, pair.second], identity, self._given, form)
        return lists.pair_queries(pair, identity, self._given, form)

    @property
    def _design(self) -> Design:
        return Design(self.pairs, self.comparisons)

    def _why_not(self, record: Record) -> str | None:
        """What the prompt mentions and the record lacks, or None."""
        if self._given is not None and self._given.mentions & {"output", "record"}:
            try:
                self._form.show(self._given, record, "x", "x")
            except CannotShow as error:
                return str(error)
        return None

    def _note_texts(self, queries: Sequence[Query[Any]], context: Context) -> None:
        """Say how many marks had no probabilities that could be used."""
        marks = [mark for query in queries if isinstance(mark := said(query, context).verdict, Mark)]
        texts = sum(mark.chances is None for mark in marks)
        if self._form.chances is None and 0 < texts < len(marks):
            context.note(f"judge: {texts:,} of {len(marks):,} marks are read as text, without usable probabilities")

    def _usage(self, prompt_tokens: int, requests: int, context: Context) -> Usage:
        each = min(self.reply_tokens, _DIRECT_TOKENS) if self.direct_only else self.reply_tokens
        return self.backend.usage(requests, prompt_tokens, requests * each, context)

    def _put(self, queries: Sequence[Query[Any]], context: Context, *, again: bool = False) -> None:
        """Ask what lacks a readable reply, up to ``attempts`` times. again: those of earlier runs do not count."""
        self.backend.ask(self._asks(queries), _Replies(context, queries, self.attempts, again=again), context)

    def _asks(self, queries: Sequence[Query[Any]], extra: Mapping[str, Any] | None = None) -> list[Ask]:
        most, heat, seed = self._most_tokens, self.temperature, self.again.get("repeat")
        return [
            Ask(query.key, Record(query.key, query.prompt), most, heat, cut=False, seed=seed, extra=extra or {})
            for query in queries
        ]

    @property
    def _most_tokens(self) -> int:
        return min(self.max_tokens, _DIRECT_TOKENS) if self.direct_only else self.max_tokens


@checked
@dataclass
class LocalJudge(LocalModel, AskedJudge):
    """Asks a Hugging Face causal LM on this machine, once per question: greedy answers do not change. With
    probabilities it writes nothing: the marks' are read from its logits after the prompt and ``lead``.
    Raises: ConfigError where ``path`` is missing, or a value is out of its range.
    """

    max_tokens: Annotated[int, Ge(1)] = 1024  # tokens of one reply at most
    block: Annotated[int, Ge(1)] = 8  # questions that share a batch
    lead: str | None = None  # what the reply begins with, for probabilities; null: "Score: ", "Better answer: "

    def __post_init__(self) -> None:
        if self.path is None:
            raise ConfigError("path: missing; give judge.path=<an embedded name, a folder or a hub id>")
        self.check()
        if self.probabilities is True and self._writes:
            raise ConfigError("probabilities: of no use with read=json, which a local judge writes")

    @property
    def direct_only(self) -> bool:
        """Whether nothing is written: probabilities are read from the logits."""
        given = self._given is not None and self._given.kind != "listwise"
        return given and self.probabilities is not False and not self._writes

    @property
    def _writes(self) -> bool:
        return self.read_ == "json"

    def reply_identity(self) -> dict[str, Any]:
        """What shapes one reply, for its key."""
        found = {"judge": "local", **self.backend.shaped_by(), **self.again}
        if self.direct_only:
            return {**found, "marks": list(self._form.values), "lead": self._lead}
        return {**found, "max_tokens": self.max_tokens}

    @property
    def _lead(self) -> str:
        if self.lead is not None:
            return self.lead
        return "Score: " if self._form.kind == "pointwise" else "Better answer: "

    def _put(self, queries: Sequence[Query[Any]], context: Context, *, again: bool = False) -> None:
        if self.direct_only:
            weigh(self.backend, queries, self._lead, list(self._form.values), context)
        else:
            super()._put(queries, context, again=again)


@checked
@dataclass
class OpenAIJudge(Served, AskedJudge):
    """Asks any OpenAI-compatible server for rankings, comparisons or marks, at temperature 0. What a server may refuse
    (log-probabilities, a reply held to a schema) is tried once; what it takes is remembered in the store.
    """

    model: str = "gpt-4.1"
    temperature: Annotated[float, Ge(0)] | None = 0.0
    max_tokens: Annotated[int, Ge(1)] = 2048  # tokens of one reply at most, the judge's own answer included
    attempts: Annotated[int, Ge(1)] = 3  # replies asked for until one is a verdict
    reply_tokens: int = 300  # expected tokens of a reply, for the estimate
    direct: bool = False  # the reply is the mark alone, without reasons: for weak models, and for fewer tokens
    top_logprobs: Annotated[int, Interval(ge=1, le=20)] = 20  # alternatives asked for at each token
    response_format: bool = True  # hold a direct or a JSON reply to its form, where the server can

    asks_again: ClassVar[bool] = True
    node: ClassVar[str] = "judge"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check()
        if self.direct and (self._given is None or self._given.kind == "listwise" or self.read_ == "json"):
            raise ConfigError("direct: of use with a pointwise or pairwise prompt (judge.prompt=rubric, pairwise or "
                              "a file) whose reply is read as score or choice")  # fmt: skip

    @property
    def direct_only(self) -> bool:
        """Whether a reply is to be the mark alone."""
        return self.direct

    def reply_identity(self) -> dict[str, Any]:
        """What shapes one reply, for its key."""
        kept = {key: getattr(self, key) for key in ("model", "temperature", "extra_body")}
        found = {"judge": "openai", **kept, "max_tokens": self._most_tokens, **self.again}
        return {**found, "schema": self._schema} if self._schema else found

    @cached_property
    def _schema(self) -> Mapping[str, Any] | None:
        """What a server is to hold the reply to."""
        if not self.response_format:
            return None
        return verdict_schema(self._form.kind, self.scale) if self.direct else self._form.schema

    def _put(self, queries: Sequence[Query[Any]], context: Context, *, again: bool = False) -> None:
        replies = _Replies(context, queries, self.attempts, again=again)
        trial = partial(_Replies, context, queries, 1, again=True)
        left = (ask for ask in self._asks(queries) if replies.todo(ask).places)
        offers = Offers(self, self._schema, self._form.chances, self.top_logprobs)
        self.ask(self._asks(queries, offers.taken(left, trial, context)), replies, context)


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

    def line(self, answers: Sequence[Answer], drawn: Round | None = None) -> dict[str, Any]:
        """What is stored of a reply."""
        self._text = answers[0].text
        return super().line(answers, drawn)

    def told(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Usage and model, and the probabilities where the text may have a mark."""
        choice = body["choices"][0]
        places = places_in(choice.get("logprobs") if isinstance(choice, Mapping) else None, self._text)
        return {**super().told(body), **({"places": places} if places else {})}
