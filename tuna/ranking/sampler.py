"""The sampler: answers of the model being tuned that differ from each other (the paper's Section 3.1)."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Gt, Interval

from tuna.config.types import checked
from tuna.data.record import Record
from tuna.inference.answers import Answer
from tuna.inference.backend import AnswerSet, Ask, Backend, StoredSets
from tuna.inference.context import Context
from tuna.inference.cost import Usage
from tuna.inference.local import Device, Dtype, Local
from tuna.inference.served import Endpoint, ServedModel
from tuna.inference.store import key_of
from tuna.judges.checker import rouge_l


class DiverseSet(AnswerSet):
    """The paper's rule for ``n`` samples that differ (Section 3.1): every pair below tau in ROUGE-L. For one too
    similar another is drawn hotter; after ``trials`` resamples the least similar of all that were tried is kept.
    """

    def __init__(self, n: int, tau: float = 0.8, trials: int = 3) -> None:
        super().__init__(n)
        self.tau, self.trials = tau, trials
        self._tried: dict[int, list[Answer]] = {place: [] for place in range(n)}

    def missing(self) -> list[tuple[int, int]]:
        """Places still to be drawn for, each with the number of its next trial (0 is the first draw)."""
        tried = self._tried
        return [(k, len(tried[k])) for k in range(self.n) if k not in self.kept and len(tried[k]) <= self.trials]

    def offer(self, drawn: Mapping[int, Answer]) -> None:
        """Keep what passes, in the order of places; remember the rest."""
        for place, answer in sorted(drawn.items()):
            similarity = self._similarity(answer)
            if similarity < self.tau:
                self.kept[place] = replace(answer, similarity=round(similarity, 4))
            else:
                self._tried[place].append(answer)

    def finish(self) -> list[Answer]:
        """The set; places without a passing sample get the least similar one tried.

        >>> one, same, other = Answer("a b c"), Answer("a b c"), Answer("a b d")
        >>> few = DiverseSet(2, tau=0.5, trials=1)
        >>> few.offer({0: one, 1: same}); few.offer({1: other})
        >>> [(a.text, a.similarity) for a in few.finish()]
        [('a b c', 0.0), ('a b d', 0.6667)]
        """
        for place, tried in self._tried.items():
            if place not in self.kept and tried:
                best = min(tried, key=self._similarity)
                self.kept[place] = replace(best, similarity=round(self._similarity(best), 4))
        return super().finish()

    def _similarity(self, answer: Answer) -> float:
        """To the most similar one kept; an answer without text is like any."""
        if answer.unusable_reason:
            return 1.0
        return max((rouge_l(answer.text, other.text) for other in self.kept.values()), default=0.0)


class Answerer(ABC):
    """A sampler or a teacher: ``n`` answers per record, under the diversity rule unless ``tau`` is None."""

    model: Any
    temperature: Any
    max_tokens: Any
    tau: float | None = None
    trials: int = 0
    temperature_step: float = 0.0
    send_seed: bool = True
    logprobs: bool = False  # whether a server is asked for them

    @property
    @abstractmethod
    def backend(self) -> Backend:
        """What is asked."""

    @abstractmethod
    def identity(self, seed: int) -> dict[str, Any]:
        """What shapes the answers, for the store's identity."""

    @abstractmethod
    def key(self, record: Record, n: int, seed: int) -> str:
        """The key of a record's answers."""

    @property
    def name(self) -> str:
        """What the answers' ``source`` says."""
        return str(self.model)

    def rule(self) -> dict[str, Any]:
        """The diversity rule's settings, for keys."""
        rule = {"tau": self.tau, "trials": self.trials, "temperature_step": self.temperature_step}
        return {} if self.tau is None else rule

    def stored(self, context: Context) -> StoredSets:
        """What the store has of the sets of answers."""
        rule = AnswerSet if self.tau is None else partial(DiverseSet, tau=self.tau, trials=self.trials)
        return StoredSets(context.store.journal("answers"), begin=rule)

    def asks(self, records: Sequence[Record], n: int, seed: int) -> list[Ask]:
        """What the model is asked: ``n`` answers to each record."""
        fixed = (self.max_tokens, self.temperature, self.temperature_step, n, seed if self.send_seed else None)
        return [Ask(self.key(record, n, seed), record, *fixed, logprobs=self.logprobs) for record in records]

    def estimate(self, records: Sequence[Record], n: int, context: Context) -> Usage:
        """What is still to be asked, roughly; resamples come on top."""
        return self.backend.remaining(self.asks(records, n, context.seed), self.stored(context), context)

    def answer(self, records: Sequence[Record], n: int, context: Context) -> list[list[Answer]]:
        """``n`` answers per record, none where the set is not whole; asks only for what the store lacks."""
        return self.backend.ask(self.asks(records, n, context.seed), self.stored(context), context)

    def lacks(self, record: Record, n: int, context: Context) -> str:
        """Why a record has no whole set: the reason it was set aside, empty where it was not fully asked."""
        return context.aside.get(self.key(record, n, context.seed), "")


class LocalAnswerer(Answerer):
    """An Answerer that asks a model on this machine."""

    role: ClassVar[str]
    block: Any

    @property
    @abstractmethod
    def backend(self) -> Local:
        """What is asked, a model on this machine."""

    @property
    def name(self) -> str:
        """What the answers' ``source`` says: a hub id, else the folder's name."""
        path = str(self.model.path)
        return path if path.count("/") == 1 else path.rstrip("/").rpartition("/")[2]

    def identity(self, seed: int) -> dict[str, Any]:
        """What shapes the answers, for the store's identity."""
        return {self.role: "local", **self.backend.shaped_by(), "seed": seed, "block": self.block, **self._settings()}

    def key(self, record: Record, n: int, seed: int) -> str:
        """The key of a record's answers."""
        base = {**self._settings(), **self.backend.shaped_by(), "seed": seed, "n": n}
        return key_of(**base, record=record.id, prompt=record.question)

    def _settings(self) -> dict[str, Any]:
        return {"temperature": self.temperature, "max_tokens": self.max_tokens, **self.rule()}


@checked
@dataclass
class Sampler(LocalAnswerer):
    """Draws from ``model`` under the diversity rule."""

    temperature: Annotated[float, Gt(0)] = 1.0  # of the first draw of an answer
    max_tokens: Annotated[int, Ge(1)] = 512  # tokens of one answer at most
    block: Annotated[int, Ge(1)] = 32  # instructions that share batches; part of what the seed means, so keep it
    device: Device = "auto"  # auto is CUDA where there is one
    dtype: Dtype = "auto"  # of the weights; auto is float32 on the CPU, else as stored
    tau: Annotated[float, Interval(gt=0, le=1)] | None = 0.8  # ROUGE-L of two answers is below it; null: no rule
    trials: Annotated[int, Ge(0)] = 3  # resamples before the least similar one tried is kept
    temperature_step: Annotated[float, Ge(0)] = 0.1  # what each new trial adds to the temperature
    model: Any = field(default=None, init=False)  # the config's ``model``, a ModelConfig

    role: ClassVar[str] = "sampler"

    @cached_property
    def backend(self) -> Local:
        """What is asked; a reward model is refused."""
        from tuna.models.reward import writer

        return Local(writer(self.model), block=self.block, device=self.device, dtype=self.dtype)


@checked
@dataclass
class ServerSampler(ServedModel, Answerer):
    """Draws from a server that holds the model being tuned, a round of the diversity rule in each request. endpoint:
    completions with the prompt template that it was tuned with (alpaca or none), or chat where that is its tokenizer's.
    send_seed: give each request a seed of its own; servers that know none ignore it.
    """

    temperature: Annotated[float, Ge(0)] = 1.0  # of the first draw of an answer
    endpoint: Endpoint = "completions"
    max_tokens: Annotated[int, Ge(1)] = 512  # tokens of one answer at most
    tau: Annotated[float, Interval(gt=0, le=1)] | None = 0.8  # ROUGE-L of two answers is below it; null: no rule
    trials: Annotated[int, Ge(0)] = 3  # resamples before the least similar one tried is kept
    temperature_step: Annotated[float, Ge(0)] = 0.1  # what each new trial adds to the temperature
    send_seed: bool = True

    node: ClassVar[str] = "sampler"

    def identity(self, seed: int) -> dict[str, Any]:
        """What shapes the answers, for keys and for the store's identity."""
        seeded = {"max_tokens": self.max_tokens, "send_seed": self.send_seed, "seed": seed}
        return {"sampler": "openai", **self.shaped_by(), **seeded, **self.rule()}

    def key(self, record: Record, n: int, seed: int) -> str:
        """The key of a record's answers."""
        return key_of(**self.identity(seed), n=n, record=record.id, prompt=self.prompt(record))
