"""A model on this machine that is asked: blocks of asks share batches, each block is stored whole or not at all."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from heapq import nlargest
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from annotated_types import Ge

from tuna.config.types import checked
from tuna.console import Progress
from tuna.data.record import Record
from tuna.errors import ModelError
from tuna.inference.answers import Answer, apart
from tuna.inference.backend import Ask, Question, StoredTexts, asks_of, counter, one_each, store_in_blocks
from tuna.inference.context import Context
from tuna.inference.cost import Price, Prices, Usage

if TYPE_CHECKING:
    from tuna.inference.generate import Generator
    from tuna.models.source import ModelConfig

Device = Literal["auto", "cpu", "cuda"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Template = Literal["auto", "alpaca", "chat", "none"]


_TRIED = 64  # of the longest questions by characters, among which that of most tokens is looked for


class Free:
    """What costs no money."""

    def price_in(self, prices: Prices) -> Price | None:
        """Nothing."""
        return Price(0.0, 0.0)

    def usage(self, *asked: object) -> Usage:
        """No requests."""
        return Usage()

    remaining = estimate = usage


class Local(Free):
    """A Hugging Face causal LM. block: asks that share batches. by_length: the longest prompts first."""

    def __init__(
        self, model: "ModelConfig", *, block: int, device: Device, dtype: Dtype, by_length: bool = False
    ) -> None:
        self.model, self.block, self.device, self.dtype, self.by_length = model, block, device, dtype, by_length

    def shaped_by(self) -> dict[str, Any]:
        """What shapes an answer, besides the ask."""
        return {"model": self.model.fingerprint, **self.model.shaped_by}

    def memory(self, records: Sequence[Record], max_tokens: int, answers: int = 1) -> str:
        """What the weights take, and the keys and values of the largest block at most, in words; no weight is read.

        answers: to each record. DataError for records that cannot be shown.
        """
        from tuna.data.tokenize import check_shown
        from tuna.models.folder import stored_parameters
        from tuna.models.footprint import cache_bytes
        from tuna.models.loading import device_named, dtype_named

        found, encoder = self.model.resolve(), self.model.encoder()
        longest = nlargest(_TRIED, records, key=lambda record: len(str(record.question)))
        check_shown(encoder, longest)
        width = max(len(encoder.prompt(record)) for record in longest) + max_tokens
        width, rows = min(width, found.max_positions or width), min(self.block, len(records)) * answers
        itemsize = dtype_named(self.dtype, device_named(self.device), found.weights_folder).itemsize
        weights = itemsize * stored_parameters(found.weights_folder)
        cache = rows * cache_bytes(found.config, width, itemsize)
        return (
            f"memory: weights {weights / 1e9:.2f} GB, keys and values of {rows:,} answers at once up to "
            f"{cache / 1e9:.2f} GB"
        )

    def ask(self, asks: Sequence[Ask], stored: StoredTexts, context: Context) -> list[list[Answer]]:
        """The answers to each ask; what does not fit is set aside. DataError for records that cannot be shown."""
        if lacking := [ask for ask in asks if ask.key not in stored.journal]:
            from tuna.data.tokenize import check_shown
            from tuna.inference.generate import Generator, longest_first

            check_shown(self.model.encoder(), [ask.record for ask in lacking])
            generator = Generator(self.model, max_tokens=asks[0].max_tokens, device=self.device, dtype=self.dtype)
            progress = Progress(stored.unit, len(asks))

            @cache
            def prompt(i: int) -> list[int]:
                try:
                    return generator.prompt(asks[i].record, cut=asks[i].cut)
                except ModelError as error:
                    context.aside[asks[i].key] = str(error)
                    return []

            def make(block: Sequence[int]) -> Iterator[Mapping[str, Any] | None]:
                fit = [i for i in block if prompt(i)]
                made = iter(draw(generator, [asks[i] for i in fit], [prompt(i) for i in fit], stored, progress))
                return (stored.line(next(made)) if prompt(i) else None for i in block)

            order: Sequence[int] = range(len(asks))
            if self.by_length:
                order = longest_first([prompt(i) for i in order])
            keys = [ask.key for ask in asks]
            store_in_blocks(stored.journal, keys, order, self.block, stored.unit, make, progress)
        return [stored.whole(ask) for ask in asks]


def draw(
    generator: "Generator",
    asks: Sequence[Ask],
    prompts: Sequence[Sequence[int]],
    stored: StoredTexts,
    progress: Progress,
) -> list[list[Answer]]:
    """The answers to the asks of one block: rounds of draws until no set misses any."""
    from tuna.inference.generate import Draw, noise_key

    sets = [stored.begin(ask.n) for ask in asks]
    while wanted := [(i, place, trial) for i, each in enumerate(sets) for place, trial in each.missing()]:
        draws = [
            Draw(i, noise_key(asks[i].seed, asks[i].record.id, place, trial), asks[i].heat(trial) or 0.0)
            for i, place, trial in wanted
        ]
        drawn: dict[int, dict[int, Answer]] = defaultdict(dict)
        answers_drawn = generator.draw(prompts, draws, progress.within(len(draws), sum(map(len, prompts))))
        for (i, place, trial), answer in zip(wanted, answers_drawn, strict=True):
            hot = asks[i].heat(trial) if trial else None
            drawn[i][place] = answer if stored.raw else replace(apart(answer), temperature=hot)
        for i, answers in drawn.items():
            sets[i].offer(answers)
    finished = [each.finish() for each in sets]
    if not stored.raw:
        finished = generator.as_written([ask.record for ask in asks], finished)
    whole = [generator.fits(ask.record) for ask in asks]
    return [
        answers if fits else [replace(answer, shortened=True) for answer in answers]
        for answers, fits in zip(finished, whole, strict=True)
    ]


@checked
@dataclass
class LocalModel:
    """A local model that a config node names by itself: a teacher or a judge."""

    path: str | None = None  # an embedded name, a run folder, a Hugging Face folder or a hub id
    revision: str | None = None  # branch, tag or commit of a hub id
    trust_remote_code: bool = False  # run code that comes with the model
    template: Template = "auto"  # of prompts; auto is chat where the tokenizer has a chat template
    template_args: dict[str, Any] | None = None  # variables of the chat template
    max_tokens: Annotated[int, Ge(1)] = 512  # tokens of one answer at most
    block: Annotated[int, Ge(1)] = 32  # questions that share batches
    device: Device = "auto"  # auto is CUDA where there is one
    dtype: Dtype = "auto"  # of the weights; auto is float32 on the CPU, else as stored

    @cached_property
    def model(self) -> "ModelConfig":
        """The config node of the model, which is no reward model."""
        from tuna.models.reward import writer
        from tuna.models.source import ModelConfig

        given = (str(self.path), self.revision, self.trust_remote_code, self.template, self.template_args)
        return writer(ModelConfig(*given))

    @cached_property
    def backend(self) -> Local:
        """What is asked."""
        return Local(self.model, block=self.block, device=self.device, dtype=self.dtype)


@checked
@dataclass
class LocalGeneration(Free):
    """How ``cfg.model`` answers on this machine. batch_size: questions at once. device: auto is CUDA where there
    is one. dtype: of the weights; auto is float32 on the CPU, else as stored. reasoning: strip takes off what an answer
    holds before its last </think>, keep leaves it. Raises: ConfigError where a value is out of its range.
    """

    batch_size: Annotated[int, Ge(1)] = 64
    device: Device = "auto"
    dtype: Dtype = "auto"
    reasoning: Literal["strip", "keep"] = "strip"

    kind: ClassVar[str] = "local"

    def identity(self) -> dict[str, Any]:
        """What may change a figure: a different batch size or type rounds differently."""
        return {**self._shaped_by(), **({"reasoning": "keep"} if self.reasoning == "keep" else {})}

    def _shaped_by(self) -> dict[str, Any]:
        return {"generation": "local", "batch_size": self.batch_size, "dtype": self.dtype}

    def measured(self, model: "ModelConfig") -> tuple[str, str, str]:
        """Path, source and fingerprint of what is measured."""
        from tuna.models.reward import writer

        resolved = writer(model).resolve()
        return model.path, resolved.source, resolved.fingerprint

    def counter(self, model: "ModelConfig") -> Callable[[str], int]:
        """Tokens of a text."""
        return counter(model.tokenizer())

    def answer(
        self, model: "ModelConfig", questions: Sequence[Question], max_tokens: int, context: Context
    ) -> list[Answer | None]:
        """One answer per question as the model wrote it; draws only batches of which the store lacks something."""
        return one_each(*self._asks(model, questions, max_tokens), context)

    def _asks(self, model: "ModelConfig", questions: Sequence[Question], max_tokens: int) -> tuple[Local, list[Ask]]:
        backend = Local(model, block=self.batch_size, device=self.device, dtype=self.dtype, by_length=True)
        base = {**backend.shaped_by(), **self._shaped_by(), "max_tokens": max_tokens}
        return backend, asks_of(questions, base, lambda record: record.question, max_tokens)

    def work(self, model: "ModelConfig", questions: Sequence[Question], max_tokens: int, context: Context) -> str:
        """What ``answer`` would generate, in words."""
        backend, asks = self._asks(model, questions, max_tokens)
        journal = context.store.journal("answers")
        lacking = [ask.record for ask in asks if ask.key not in journal]
        count = len(lacking)
        stored = f" ({len(asks) - count:,} more are stored)" if count < len(asks) else ""
        each = f"at most {max_tokens:,} tokens each, {count * max_tokens:,} in all"
        memory = f"; {backend.memory(lacking, max_tokens)}" if count else ""
        return f"{count:,} answers of {model.path}, {each}{stored}{memory}"
