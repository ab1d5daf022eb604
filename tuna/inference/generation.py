"""How a benchmark's questions are answered, greedily: by cfg.model on this machine, or by a server."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol

from annotated_types import Ge

from tuna.config.types import checked
from tuna.data.record import Record
from tuna.inference.answers import Answer
from tuna.inference.backend import Ask, Backend, StoredTexts
from tuna.inference.context import Context
from tuna.inference.cost import Usage
from tuna.inference.local import Device, Dtype, Local
from tuna.inference.served import ServedModel
from tuna.inference.store import key_of

if TYPE_CHECKING:
    from tuna.models.source import ModelConfig


class Question(Protocol):
    """What a benchmark asks; (task, id) names it."""

    @property
    def id(self) -> str: ...  # noqa: D102
    @property
    def record(self) -> Record: ...  # noqa: D102
    @property
    def task(self) -> str: ...  # noqa: D102


@checked
@dataclass
class LocalGeneration:
    """How ``cfg.model`` answers on this machine.

    batch_size: questions answered at once. device: auto is CUDA where there is one. dtype: auto is float32 on the CPU,
    else as stored. reasoning: strip takes off what an answer holds before its last </think>, keep leaves it.

    Raises:
        ConfigError: a value out of range.
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
        from tuna.models.reward_source import writer

        resolved = writer(model).resolve()
        return model.path, resolved.source, resolved.fingerprint

    def counter(self, model: "ModelConfig") -> Callable[[str], int]:
        """Tokens of a text."""
        return _counter(model.tokenizer())

    def estimate(self, questions: Sequence[Question], max_tokens: int, context: Context) -> Usage:
        """No requests."""
        return Usage()

    def answer(
        self, model: "ModelConfig", questions: Sequence[Question], max_tokens: int, context: Context
    ) -> list[Answer | None]:
        """One answer per question as the model wrote it; draws only batches of which the store lacks something."""
        backend = Local(model, block=self.batch_size, device=self.device, dtype=self.dtype, by_length=True)
        base = {**backend.shaped_by(), **self._shaped_by(), "max_tokens": max_tokens}
        asks = [Ask(_key(base, q, q.record.question), q.record, max_tokens) for q in questions]
        return _answers(backend, asks, context)


@checked
@dataclass
class ServedGeneration(ServedModel):
    """Asks a server, at temperature 0: vLLM on several GPUs, or anybody's API.

    tokenizer: a folder whose tokenizer counts tokens where a benchmark limits its prompts; null counts a token for
    three bytes, which is more than there are. reasoning: strip takes off what an answer holds before its last </think>,
    keep leaves it.

    Raises:
        ConfigError: all values out of range.
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

        return _counter(AutoTokenizer.from_pretrained(self.tokenizer))

    def _asks(self, questions: Sequence[Question], max_tokens: int) -> list[Ask]:
        base = {**self.shaped_by(), "max_tokens": max_tokens}
        return [Ask(_key(base, q, self.prompt(q.record)), q.record, max_tokens, self.temperature) for q in questions]

    def estimate(self, questions: Sequence[Question], max_tokens: int, context: Context) -> Usage:
        """What is still to be asked, roughly."""
        stored = StoredTexts(context.store.journal("answers"))
        return self.remaining(self._asks(questions, max_tokens), stored, context)

    def answer(
        self, model: "ModelConfig", questions: Sequence[Question], max_tokens: int, context: Context
    ) -> list[Answer | None]:
        """One answer per question as the server wrote it, None where it refused or the run was stopped."""
        return _answers(self, self._asks(questions, max_tokens), context)


def _key(base: dict[str, Any], question: Question, prompt: object) -> str:
    return key_of(**base, task=question.task, id=question.id, prompt=prompt)


def _answers(backend: Backend, asks: Sequence[Ask], context: Context) -> list[Answer | None]:
    found = backend.ask(asks, StoredTexts(context.store.journal("answers")), context)
    return [answers[0] if answers else None for answers in found]


def _counter(tokenizer: Any) -> Callable[[str], int]:
    return lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])
