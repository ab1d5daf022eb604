"""Greedy answers of a local model: sorted by length, batched, each stored when its batch is done."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tuna.console import Progress
from tuna.errors import ConfigError
from tuna.evaluation.base import Question
from tuna.inference.answers import Answer, stored_answer
from tuna.inference.context import Context
from tuna.inference.cost import Usage
from tuna.inference.local import Device, Dtype
from tuna.inference.store import key_of

if TYPE_CHECKING:
    from tuna.models.source import ModelConfig


@dataclass
class LocalGeneration:
    """How ``cfg.model`` answers on this machine.

    batch_size: questions answered at once. device: auto is CUDA where there is one. dtype: auto is float32 on the CPU,
    else as stored. reasoning: strip takes off what an answer holds before its last </think>, keep leaves it.

    Raises:
        ConfigError: a value out of range.
    """

    batch_size: int = 64
    device: Device = "auto"
    dtype: Dtype = "auto"
    reasoning: Literal["strip", "keep"] = "strip"

    kind: ClassVar[str] = "local"

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ConfigError(f"batch_size: expected 1 or more, got {self.batch_size}")

    def identity(self) -> dict[str, Any]:
        """What may change a figure: in another batch or type, sums round otherwise."""
        return {**self._answers_by(), **({"reasoning": "keep"} if self.reasoning == "keep" else {})}

    def _answers_by(self) -> dict[str, Any]:
        return {"generation": "local", "batch_size": self.batch_size, "dtype": self.dtype}

    def measured(self, model: "ModelConfig") -> tuple[str, str, str]:
        """Name, source and fingerprint of what is measured."""
        from tuna.evaluation.results import model_name
        from tuna.models.reward_source import writer

        resolved = writer(model).resolve()
        return model_name(model.path), resolved.source, resolved.fingerprint

    def counter(self, model: "ModelConfig") -> Callable[[str], int]:
        """Tokens of a text."""
        tokenizer: Any = model.tokenizer()
        return lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])

    def estimate(self, questions: Sequence[Question], max_tokens: int, context: Context) -> Usage:
        """No requests."""
        return Usage()

    def answer(
        self, model: "ModelConfig", questions: Sequence[Question], max_tokens: int, context: Context
    ) -> list[Answer | None]:
        """One answer a question as the model wrote it; draws only batches of which the store lacks something."""
        from tuna.data.tokenize import check_shown
        from tuna.inference.generate import Draw, Generator

        journal = context.store.journal("answers")
        base = {"model": model.fingerprint, **model.shaped_by, "max_tokens": max_tokens, **self._answers_by()}
        keys = [key_of(**base, task=q.task, id=q.id, prompt=q.record.question) for q in questions]
        if any(key not in journal for key in keys):
            check_shown(model.encoder(), [question.record for question in questions])
            generator = Generator(model, max_tokens=max_tokens, device=self.device, dtype=self.dtype)
            prompts = [generator.prompt(question.record) for question in questions]
            order = sorted(
                range(len(keys)), key=lambda i: (-len(prompts[i]), i)
            )  # the longest first: memory shows at once
            batches = [order[at : at + self.batch_size] for at in range(0, len(order), self.batch_size)]
            missing = [batch for batch in batches if any(keys[i] not in journal for i in batch)]
            progress = Progress("answers", len(keys), len(keys) - sum(map(len, missing)))
            for batch in missing:
                draws = [Draw(place, (0, 0), 0.0) for place in range(len(batch))]
                for i, answer in zip(batch, generator.draw([prompts[i] for i in batch], draws), strict=True):
                    if keys[i] not in journal:
                        journal.append({"key": keys[i], "text": answer.text, "finish_reason": answer.finish_reason})
                progress.update(len(batch))
            progress.close()
        return [journal.read(key, stored_answer)[0] for key in keys]
