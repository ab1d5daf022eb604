"""Judges that are asked in words, by the paper's prompt (Table 9) or one of your own: a local model, or a server."""

import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import product
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

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
from tuna.inference.server import StopRun
from tuna.inference.store import key_of
from tuna.judges import lists, pairwise, pointwise
from tuna.judges.base import Case, Comparison, Judge, NoRuling, Pair, Ruling
from tuna.judges.logits import weigh
from tuna.judges.marks import Mark, places_in
from tuna.judges.prompt import CannotShow, Prompt
from tuna.judges.reading import OF_KIND, Form, Read
from tuna.judges.replies import Query, said
from tuna.judges.structured import read_schema
from tuna.judges.tournament import Design, tournament

_REFUSED = re.compile(r"refused by the server|; the last: 500")  # llama-cpp-python says 500 of a field that it lacks
_DIRECT_TOKENS = 16  # of a reply that is a mark alone, {"choice": "A"} for instance


@checked
@dataclass
class Asking:
    """What a judge is asked, and how its replies are read."""

    prompt_: str | None = None  # table9, pairwise, rubric or a Jinja file; null: table9 for lists, pairwise for pairs
    read_: Literal["rank", "choice", "score", "json"] | None = None  # the form of a reply; null: by the prompt's kind
    scale: tuple[int, int] = (1, 5)  # the lowest and the highest score
    schema: str | dict[str, Any] | None = None  # read=json: a JSON schema, or its file; null: the verdict alone
    field: str | None = None  # read=json: the property that holds the verdict; null: rank, choice or score
    probabilities: Literal["auto"] | bool = "auto"  # of marks; auto: where judge.prompt is pointwise or pairwise
    least_mass: Annotated[float, Interval(ge=0, le=1)] = 0.5  # the probability that all marks must have together
    pairs: Literal["all", "swiss", "sorted"] = "all"  # which pairs of a list a pairwise prompt compares
    comparisons: Annotated[int, Ge(1)] | None = None  # of pairs of one list at most; null: as pairs says


class AskedJudge(Asking, Judge):
    """What does not depend on who is asked. A local model's greedy reply would be the same again: one attempt."""

    temperature: float | None = 0.0
    max_tokens: int
    orders: Literal[1, 2]
    keep_reference: bool
    attempts: int = 1
    reply_tokens: int = 0
    lacking: ClassVar[str] = "they lack what the prompt mentions"
    again: Mapping[str, int] = MappingProxyType({})  # {"repeat": k} of one that is asked anew, part of a reply's key

    @property
    @abstractmethod
    def backend(self) -> Backend:
        """What is asked."""

    @property
    def direct_only(self) -> bool:
        """Whether a reply is to be the mark alone."""
        return False

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

    @cached_property
    def _given(self) -> Prompt | None:
        """The prompt that was named; None: Table 9's, and the pairwise one."""
        return None if self.prompt_ is None else Prompt.load(self.prompt_)

    @cached_property
    def _form(self) -> Form:
        """How replies to that prompt are read. Raises ConfigError."""
        if self._given is None:
            return lists.RANK
        kind, read = self._given.kind, self._reads
        chances = {True: True, False: False, "auto": None}[self.probabilities]
        marks = kind != "listwise" and not (self.probabilities == "auto" and self._writes)
        own = self.prompt_ == "table9" or self.keep_reference
        schema, name = None, self.field or OF_KIND[kind]
        if read == "json":
            schema = read_schema(self.schema or verdict_schema(kind, self.scale), name)
        return Form(
            kind, read, self.scale, schema, name, self.direct_only, chances if marks else False, self.least_mass, own
        )

    @property
    def _reads(self) -> Read:
        assert self._given is not None
        return self.read_ or OF_KIND[self._given.kind]

    @property
    def _writes(self) -> bool:
        """Whether probabilities cannot be had, since the judge writes what only its text says."""
        return False

    def check(self) -> None:
        """Raise ConfigError for a prompt that cannot be used, and for settings that it has no use for."""
        kind = self._given.kind if self._given is not None else "listwise"
        low, high = self.scale
        ranked = "(judge.prompt=rubric, pairwise, or a file that mentions response, or a and b)"
        allowed = (OF_KIND[kind], "json") if self._given is not None else (None,)
        wrong = {
            f"scale: expected two whole numbers from 0 to 999, the lower first, got [{low}, {high}]": not (
                0 <= low < high <= 999
            ),
            f"read: expected {' or '.join(map(str, allowed))} with a {kind} prompt, got {self.read_}": (
                self.read_ is not None and self.read_ not in allowed
            ),
            "schema, field: of use with read=json only": (self.schema or self.field) and self.read_ != "json",
            f"probabilities: expected a prompt whose reply ends in one mark {ranked}": (
                self.probabilities is True and kind == "listwise"
            ),
            f"orders, keep_reference: of use where a list is ranked at once, not with a {kind} prompt": (
                kind != "listwise" and (self.orders != 1 or self.keep_reference)
            ),
            "pairs, comparisons: of use with a pairwise prompt (judge.prompt=pairwise or a file with a and b)": (
                kind != "pairwise" and (self.pairs != "all" or self.comparisons is not None)
            ),
        }
        if found := [message for message, holds in wrong.items() if holds]:
            raise ConfigError("\n".join(found))
        _ = self._form

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


def verdict_schema(kind: str, scale: tuple[int, int]) -> dict[str, Any]:
    """The JSON schema of a verdict alone.

    >>> verdict_schema("pointwise", (1, 3))["properties"]
    {'score': {'type': 'integer', 'enum': [1, 2, 3]}}
    """
    forms: dict[str, dict[str, Any]] = {
        "listwise": {"rank": {"type": "array", "items": {"type": "integer"}}},
        "pairwise": {"choice": {"type": "string", "enum": ["A", "B", "C"]}},
        "pointwise": {"score": {"type": "integer", "enum": list(range(scale[0], scale[1] + 1))}},
    }
    properties = forms[kind]
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


@checked
@dataclass
class LocalJudge(LocalModel, AskedJudge):
    """Asks a Hugging Face causal LM on this machine, once per question: greedy answers do not change. With
    probabilities it writes nothing: the marks' are read from its logits after the prompt and ``lead``.
    Raises: ConfigError where ``path`` is missing, or a value is out of its range.
    """

    max_tokens: Annotated[int, Ge(1)] = 1024  # tokens of one reply at most
    block: Annotated[int, Ge(1)] = 8  # questions that share a batch
    orders: Literal[1, 2] = 1  # 2 asks about a list in both orders
    keep_reference: bool = False  # the judge's own answer becomes one more candidate
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
    orders: Literal[1, 2] = 1  # 2 asks about a list in both orders; two answers are always compared in both
    attempts: Annotated[int, Ge(1)] = 3  # replies asked for until one is a verdict
    keep_reference: bool = False  # the judge's own answer becomes one more candidate
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

    @cached_property
    def _extras(self) -> list[dict[str, Any]]:
        """Fields that a server may refuse, the most useful first."""
        held: list[dict[str, Any]] = [{}]
        if self._schema is not None:
            strict = {"name": "verdict", "schema": self._schema, "strict": True}
            held = [
                {"response_format": {"type": "json_schema", "json_schema": strict}},
                {"response_format": {"type": "json_object", "schema": self._schema}},  # llama-cpp-python's
                {},
            ]
        counts = dict.fromkeys((self.top_logprobs, min(5, self.top_logprobs)))
        weighed: list[dict[str, Any]] = [{"logprobs": True, "top_logprobs": count} for count in counts]
        if self._form.chances is False:
            weighed = [{}]
        elif self._form.chances is None:
            weighed.append({})
        return [{**form, **asked} for asked, form in product(weighed, held)]

    def _put(self, queries: Sequence[Query[Any]], context: Context, *, again: bool = False) -> None:
        replies = _Replies(context, queries, self.attempts, again=again)
        extra = self._taken(queries, replies, context)
        self.ask(self._asks(queries, extra), replies, context)

    def _taken(self, queries: Sequence[Query[Any]], replies: "_Replies", context: Context) -> Mapping[str, Any]:
        """The fields of ``_extras`` that the server takes: as the store remembers, else by asking one question."""
        if len(self._extras) == 1 and not self._extras[0]:
            return {}
        journal = context.store.journal("takes")
        key = key_of(base_url=self.base_url, model=self.model, extras=self._extras)
        known = journal.read(key, lambda line: int(line["number"]))
        left = [] if known else [ask for ask in self._asks(queries) if replies.todo(ask).places]
        trier = replace(self, batch=False, retries=min(1, self.retries))
        trial = _Replies(context, queries, 1, again=True)
        for ask, (number, extra) in product(left[:2], enumerate(self._extras)):
            trier.ask([replace(ask, extra=extra)], trial, context)
            if context.stopped:
                break
            why = context.why(ask.key) or ""
            if not _REFUSED.search(why):  # else one that is refused whatever is asked says nothing of the fields
                if ask.key not in context.failed:
                    known = [self._given_by(ask, number, replies, context)]
                    if not context.stopped:
                        journal.append({"key": key, "number": known[0]})
                break
            if number + 1 < len(self._extras):
                context.aside.pop(ask.key, None)
                context.failed.pop(ask.key, None)
        number = known[-1] if known else 0
        if not context.stopped:
            self._tell(number, context)
        return self._extras[number]

    def _given_by(self, ask: Ask, number: int, replies: "_Replies", context: Context) -> int:
        """The same fields less the log-probabilities, where the server takes the field and gives none."""
        lines = replies.journal.get(ask.key)
        if "logprobs" not in self._extras[number] or not lines or any("places" in line for line in lines):
            return number
        plain = {key: value for key, value in self._extras[number].items() if key == "response_format"}
        if plain in self._extras:
            return self._extras.index(plain)
        context.stopped = StopRun(
            f"judge: {self.base_url or 'the server'} gives no top_logprobs for {self.model!r}, which "
            "judge.probabilities=true needs; what was answered is kept. Next: judge.probabilities=auto, another "
            "model, or llama-cpp-python with --logits_all true"
        )
        return number

    def _tell(self, number: int, context: Context) -> None:
        """Note what a server does not take."""
        best, taken = self._extras[0], self._extras[number]
        where = self.base_url or "the server"
        if "response_format" in best and "response_format" not in taken:
            context.note(f"judge: {where} takes no response_format; replies are read as they come")
        if "logprobs" in best and "logprobs" not in taken:
            context.note(f"judge: {where} takes no logprobs; marks are read as text")


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
