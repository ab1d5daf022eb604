"""The sampler: answers of the model being tuned, that differ from each other (the paper's Section 3.1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuna.data.record import Record
from tuna.inference.answers import Answer
from tuna.inference.context import Context
from tuna.inference.cost import Price, Prices, Usage
from tuna.inference.local import BlockSampler, Device, Dtype

if TYPE_CHECKING:
    from tuna.models.source import ModelConfig


@dataclass
class Sampler(BlockSampler):
    """Draws from ``model`` under the diversity rule.

    temperature: of the first draw; each new trial adds temperature_step. tau: highest ROUGE-L between two answers,
    exclusive; null draws without the rule. trials: resamples before the least similar one tried is kept. max_tokens: of
    one answer. block: instructions that share batches; part of what the seed means, so keep it for the same file.
    """

    temperature: float = 1.0
    max_tokens: int = 512
    block: int = 32
    device: Device = "auto"
    dtype: Dtype = "auto"
    tau: float | None = 0.8
    trials: int = 3
    temperature_step: float = 0.1

    @property
    def needs_model(self) -> bool:
        """Whether it uses the config's ``model``."""
        return True

    def name(self, model: "ModelConfig") -> str:
        """What the answers' ``source`` says."""
        path = str(model.path)
        return path if path.count("/") == 1 else path.rstrip("/").rpartition("/")[2]

    def price_in(self, prices: Prices) -> Price | None:
        """A local model asks for no money."""
        return Price(0.0, 0.0)

    def estimate(self, records: Sequence[Record], n: int, context: Context) -> Usage:
        """No requests."""
        return Usage()

    def lacks(self, record: Record, n: int, context: Context) -> str:
        """Why a record has no whole set: never so."""
        return ""

    def identity(self, model: "ModelConfig", seed: int) -> dict[str, Any]:
        """What shapes the answers, for the store's identity."""
        from tuna.models.reward_source import writer

        return {
            "sampler": "local",
            "model": writer(model).fingerprint,
            **model.shaped_by,
            "seed": seed,
            "block": self.block,
            **self.settings(),
        }

    def answer(self, model: "ModelConfig", records: Sequence[Record], n: int, context: Context) -> list[list[Answer]]:
        """``n`` answers of ``model`` a record."""
        return self.collect(model, records, n, context)
