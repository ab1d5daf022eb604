"""A teacher on this machine: a Hugging Face causal LM that answers with log-probabilities, or scores given answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from tuna.data.record import Record
from tuna.inference.answers import Answer
from tuna.inference.context import Context
from tuna.inference.cost import Price, Prices, Usage
from tuna.inference.local import BlockSampler, Device, Dtype

if TYPE_CHECKING:
    from tuna.models.source import ModelConfig


@dataclass
class LocalTeacher(BlockSampler):
    """Draws answers from a local model.

    path: an embedded name, a run folder, a Hugging Face folder or a hub id; revision: of a hub id. template: of
    prompts, auto is chat where the tokenizer has a chat template; template_args: its variables. temperature: the
    paper's is 1. max_tokens: of one answer. block: instructions that share batches.
    row_tokens: tokens per packed row where given answers are scored.
    """

    path: str = "tiny_teacher"
    revision: str | None = None
    trust_remote_code: bool = False
    template: Literal["auto", "alpaca", "chat", "none"] = "auto"
    template_args: dict[str, Any] | None = None
    temperature: float = 1.0
    max_tokens: int = 512
    block: int = 32
    device: Device = "auto"
    dtype: Dtype = "auto"
    row_tokens: int = 2048

    @cached_property
    def model(self) -> "ModelConfig":
        """The config node of the model, which is no reward model."""
        from tuna.models.reward_source import writer
        from tuna.models.source import ModelConfig

        return writer(ModelConfig(self.path, self.revision, self.trust_remote_code, self.template, self.template_args))

    @property
    def name(self) -> str:
        """What the answers' ``source`` says."""
        return self.path.rstrip("/").rpartition("/")[2] if self.path.count("/") != 1 else self.path

    def identity(self) -> dict[str, Any]:
        """What shapes an answer, for the store's identity."""
        return {
            "teacher": "local", "model": self.model.fingerprint, **self.model.shaped_by, "block": self.block,
            **self.settings(),
        }  # fmt: skip

    def price_in(self, prices: Prices) -> Price | None:
        """A local model asks for no money."""
        return Price(0.0, 0.0)

    def estimate(self, records: Sequence[Record], n: int, context: Context) -> Usage:
        """No requests."""
        return Usage()

    def answer(self, records: Sequence[Record], n: int, context: Context) -> list[list[Answer]]:
        """``n`` answers a record."""
        return self.collect(self.model, records, n, context)

    def score(
        self, records: Sequence[Record], answers: Sequence[Sequence[Answer]], context: Context
    ) -> list[list[Answer]]:
        """The answers with this model's summed log-probability and token count."""
        from tuna.inference.score import score_answers

        return score_answers(self.model, records, answers, context, row_tokens=self.row_tokens, device=self.device)
