"""A judge on this machine: a Hugging Face causal LM asked with the paper's prompt, answering greedily."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tuna.console import Progress
from tuna.data.record import Record
from tuna.errors import ConfigError, ModelError
from tuna.inference.context import Context
from tuna.inference.cost import Price, Prices, Usage
from tuna.inference.local import Device, Dtype
from tuna.judges.asked import AskedJudge
from tuna.judges.query import Query

if TYPE_CHECKING:
    from tuna.models.source import ModelConfig


@dataclass
class LocalJudge(AskedJudge):
    """Asks a local model, once a question: greedy answers do not change.

    path: an embedded name, a run folder, a Hugging Face folder or a hub id; revision: of a hub id. template: of the
    question, auto is chat where the tokenizer has a chat template; template_args: its variables. max_tokens: of one
    reply. block: questions that share a batch. orders: 2 asks about a list both ways round. keep_reference: the judge's
    own answer becomes one more candidate.

    Raises:
        ConfigError: values out of range.
    """

    path: str | None = None
    revision: str | None = None
    trust_remote_code: bool = False
    template: Literal["auto", "alpaca", "chat", "none"] = "auto"
    template_args: dict[str, Any] | None = None
    max_tokens: int = 1024
    block: int = 8
    device: Device = "auto"
    dtype: Dtype = "auto"
    orders: Literal[1, 2] = 1
    keep_reference: bool = False

    asks_again: ClassVar[bool] = False

    def __post_init__(self) -> None:
        wrong = [
            f"{key}: expected 1 or more, got {getattr(self, key)}"
            for key in ("max_tokens", "block")
            if getattr(self, key) < 1
        ]
        if self.path is None:
            wrong.append("path: missing; give judge.path=<an embedded name, a folder or a hub id>")
        if wrong:
            raise ConfigError("\n".join(wrong))

    @cached_property
    def model(self) -> "ModelConfig":
        """The config node of the model, which is no reward model."""
        from tuna.models.reward_source import writer
        from tuna.models.source import ModelConfig

        return writer(
            ModelConfig(str(self.path), self.revision, self.trust_remote_code, self.template, self.template_args)
        )

    def reply_identity(self) -> dict[str, Any]:
        """What shapes one reply, for its key."""
        return {
            "judge": "local", "model": self.model.fingerprint, **self.model.shaped_by, "max_tokens": self.max_tokens,
        }  # fmt: skip

    def price_in(self, prices: Prices) -> Price | None:
        """Nothing."""
        return Price(0.0, 0.0)

    def expected(self, prompt_tokens: int, requests: int, context: Context) -> Usage:
        """No requests."""
        return Usage()

    def ask(self, queries: Sequence[Query[Any]], context: Context, *, again: bool = False) -> None:
        """Ask what the store has no reply to; a greedy one would be the same again, so it is final."""
        journal = context.store.journal("verdicts")
        blocks = [queries[at : at + self.block] for at in range(0, len(queries), self.block)]
        missing = [block for block in blocks if any(query.key not in journal for query in block)]
        if not missing:
            return
        from tuna.inference.generate import Draw, Generator

        progress = Progress("verdicts", len(queries), len(queries) - sum(map(len, missing)))
        generator = Generator(self.model, max_tokens=self.max_tokens, device=self.device, dtype=self.dtype)
        for block in missing:
            prompts, fit = [], []
            for query in block:
                try:
                    prompts.append(generator.prompt(Record(query.key, query.prompt), cut=False))
                    fit.append(query)
                except ModelError as error:
                    context.aside[query.key] = str(error)
            draws = [Draw(i, (0, 0), 0.0) for i in range(len(prompts))]
            for query, answer in zip(fit, generator.draw(prompts, draws) if draws else [], strict=True):
                if query.key not in journal:
                    journal.append({"key": query.key, "text": answer.text, "finish_reason": answer.finish_reason})
            progress.update(len(block))
        progress.close()
