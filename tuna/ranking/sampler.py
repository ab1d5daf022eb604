"""The sampler: answers of the model being tuned that differ from each other (the paper's Section 3.1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from annotated_types import Ge, Gt, Interval

from tuna.config.types import checked
from tuna.data.record import Record
from tuna.inference.answers import Answer
from tuna.inference.backend import Ask, Backend, Plain, StoredSets
from tuna.inference.context import Context
from tuna.inference.cost import Usage
from tuna.inference.local import Device, Dtype, Free, Local
from tuna.inference.served import Endpoint, ServedModel
from tuna.inference.store import key_of
from tuna.ranking.diversity import DiverseSet

if TYPE_CHECKING:
    from tuna.models.source import ModelConfig


class Drawing:
    """What samplers and teachers share: ``n`` answers per record, under the diversity rule unless ``tau`` is None."""

    temperature: Any
    max_tokens: Any
    tau: float | None = None
    trials: int = 0
    temperature_step: float = 0.0

    def rule(self) -> dict[str, Any]:
        """The rule's settings, for keys."""
        rule = {"tau": self.tau, "trials": self.trials, "temperature_step": self.temperature_step}
        return {} if self.tau is None else rule

    def stored(self, context: Context) -> StoredSets:
        """What the store has of the sets of answers."""
        rule = Plain if self.tau is None else lambda n: DiverseSet(n, self.tau, self.trials)
        return StoredSets(context.store.journal("answers"), rule)

    def asks(self, keys: Sequence[str], records: Sequence[Record], n: int, **more: Any) -> list[Ask]:
        """What a model is asked: ``n`` answers to each record."""
        fixed = (self.max_tokens, self.temperature, self.temperature_step, n)
        return [Ask(key, record, *fixed, **more) for key, record in zip(keys, records, strict=True)]


class LocalDrawing(Free, Drawing):
    """The same of a model on this machine."""

    def settings(self) -> dict[str, Any]:
        """What shapes an answer, beside the model, the seed and the instruction."""
        return {"temperature": self.temperature, "max_tokens": self.max_tokens, **self.rule()}

    def draw(self, backend: Backend, records: Sequence[Record], n: int, context: Context) -> list[list[Answer]]:
        """``n`` answers per record; draws only blocks of which the store lacks something."""
        base = {**self.settings(), **backend.shaped_by(), "seed": context.seed, "n": n}
        keys = [key_of(**base, record=record.id, prompt=record.question) for record in records]
        return backend.ask(self.asks(keys, records, n, seed=context.seed), self.stored(context), context)


@checked
@dataclass
class Sampler(LocalDrawing):
    """Draws from ``model`` under the diversity rule.

    temperature: of the first draw; each new trial adds temperature_step. tau: highest ROUGE-L between two answers,
    exclusive; null draws without the rule. trials: resamples before the least similar one tried is kept. max_tokens: of
    one answer. block: instructions that share batches; part of what the seed means, so keep it for the same file.
    """

    temperature: Annotated[float, Gt(0)] = 1.0
    max_tokens: Annotated[int, Ge(1)] = 512
    block: Annotated[int, Ge(1)] = 32
    device: Device = "auto"
    dtype: Dtype = "auto"
    tau: Annotated[float, Interval(gt=0, le=1)] | None = 0.8
    trials: Annotated[int, Ge(0)] = 3
    temperature_step: Annotated[float, Ge(0)] = 0.1

    needs_model: ClassVar[bool] = True  # it uses the config's ``model``

    def name(self, model: "ModelConfig") -> str:
        """What the answers' ``source`` says."""
        return source_name(str(model.path))

    def lacks(self, record: Record, n: int, context: Context) -> str:
        """Why a record has no whole set: never so."""
        return ""

    def identity(self, model: "ModelConfig", seed: int) -> dict[str, Any]:
        """What shapes the answers, for the store's identity."""
        from tuna.models.reward import writer

        source = {"sampler": "local", "model": writer(model).fingerprint, **model.shaped_by}
        return {**source, "seed": seed, "block": self.block, **self.settings()}

    def answer(self, model: "ModelConfig", records: Sequence[Record], n: int, context: Context) -> list[list[Answer]]:
        """``n`` answers of ``model`` per record."""
        backend = Local(model, block=self.block, device=self.device, dtype=self.dtype)
        return self.draw(backend, records, n, context)


@checked
@dataclass
class ServerSampler(ServedModel, Drawing):
    """Draws from a server that holds the model being tuned, a round of the diversity rule in each request.

    endpoint: completions with the prompt template it was tuned with (template: alpaca or none), or chat where that is
    its tokenizer's chat template. temperature: of the first draw; each new trial adds temperature_step. tau: highest
    ROUGE-L between two answers, exclusive; null draws without the rule. trials: resamples before the least similar one
    tried is kept. max_tokens: of one answer. send_seed: give each request a seed of its own, made from (seed,
    instruction, trial, place); servers that know none ignore it.

    Raises:
        ConfigError: all values out of range.
    """

    temperature: Annotated[float, Ge(0)] = 1.0
    endpoint: Endpoint = "completions"
    max_tokens: Annotated[int, Ge(1)] = 512
    tau: Annotated[float, Interval(gt=0, le=1)] | None = 0.8
    trials: Annotated[int, Ge(0)] = 3
    temperature_step: Annotated[float, Ge(0)] = 0.1
    send_seed: bool = True

    node: ClassVar[str] = "sampler"
    needs_model: ClassVar[bool] = False  # the server has its own

    def name(self, model: "ModelConfig | None") -> str:
        """What the answers' ``source`` says."""
        return self.model

    def identity(self, model: "ModelConfig | None", seed: int) -> dict[str, Any]:
        """What shapes the answers, for keys and for the store's identity: the model by the server's name for it."""
        seeded = {"max_tokens": self.max_tokens, "send_seed": self.send_seed, "seed": seed}
        return {"sampler": "openai", **self.shaped_by(), **seeded, **self.rule()}

    def key(self, record: Record, n: int, seed: int) -> str:
        """The key of this instruction's answers."""
        return key_of(**self.identity(None, seed), n=n, record=record.id, prompt=self.prompt(record))

    def lacks(self, record: Record, n: int, context: Context) -> str:
        """Why a record has no whole set: the reason it was set aside, empty where it was not fully asked."""
        return context.aside.get(self.key(record, n, context.seed), "")

    def _asks(self, records: Sequence[Record], n: int, context: Context) -> list[Ask]:
        keys = [self.key(record, n, context.seed) for record in records]
        return self.asks(keys, records, n, seed=context.seed if self.send_seed else None)

    def estimate(self, records: Sequence[Record], n: int, context: Context) -> Usage:
        """What is still to be asked, roughly; resamples come on top."""
        return self.remaining(self._asks(records, n, context), self.stored(context), context)

    def answer(
        self, model: "ModelConfig | None", records: Sequence[Record], n: int, context: Context
    ) -> list[list[Answer]]:
        """``n`` answers per record, none where the set is not whole; asks only for what the store lacks."""
        return self.ask(self._asks(records, n, context), self.stored(context), context)


def source_name(path: str) -> str:
    """What a local model's answers name as their source: a hub id, else the folder's name.

    >>> source_name("runs/first/model"), source_name("owner/model")
    ('model', 'owner/model')
    """
    return path if path.count("/") == 1 else path.rstrip("/").rpartition("/")[2]
