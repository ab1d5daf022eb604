"""A judge on this machine: a Hugging Face causal LM asked with the paper's prompt, answering greedily."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from tuna.data.record import Record
from tuna.errors import ConfigError, ModelError
from tuna.ranking.context import Context
from tuna.ranking.cost import Price, Prices, Usage
from tuna.ranking.judges.base import Case, NoRuling, Ruling
from tuna.ranking.judges.prompted import Question, questions_of, rule
from tuna.ranking.local import Device, Dtype
from tuna.ranking.progress import Progress

if TYPE_CHECKING:
    from tuna.models.source import Model


@dataclass
class LocalJudge:
    """Asks a local model, once a question: greedy answers do not change.

    path: an embedded name, a run folder, a Hugging Face folder or a hub id; revision: of a hub id. template: of the
    question, auto is chat where the tokenizer has a chat template. max_tokens: of one reply. block: questions that
    share a batch. orders: 2 asks both ways round. keep_reference: the judge's own answer becomes one more candidate.

    Raises:
        ConfigError: values out of range.
    """

    path: str | None = None
    revision: str | None = None
    trust_remote_code: bool = False
    template: Literal["auto", "alpaca", "chat", "none"] = "auto"
    max_tokens: int = 1024
    block: int = 8
    device: Device = "auto"
    dtype: Dtype = "auto"
    orders: Literal[1, 2] = 1
    keep_reference: bool = False

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
    def model(self) -> "Model":
        """The config node of the model."""
        from tuna.models.source import Model

        return Model(str(self.path), self.revision, self.trust_remote_code, self.template)

    def identity(self) -> dict[str, Any]:
        """What shapes its rulings."""
        return {**self._reply_identity(), "orders": self.orders, "keep_reference": self.keep_reference}

    def _reply_identity(self) -> dict[str, Any]:
        return {
            "judge": "local", "model": self.model.fingerprint, "template": self.template, "max_tokens": self.max_tokens,
        }  # fmt: skip

    def price_in(self, prices: Prices) -> Price | None:
        """Nothing."""
        return Price(0.0, 0.0)

    def estimate(self, records: Sequence[Record], n: int, answer_tokens: int, context: Context) -> Usage:
        """No requests."""
        return Usage()

    def judge(self, cases: Sequence[Case], context: Context) -> list[Ruling | NoRuling]:
        """Ask what the store lacks, then rule."""
        asked = [questions_of(case, self._reply_identity(), self.orders, context.seed) for case in cases]
        self._ask([question for questions in asked for question in questions], context)
        return [rule(questions, context, keep_reference=self.keep_reference) for questions in asked]

    def _ask(self, questions: list[Question], context: Context) -> None:
        journal = context.store.journal("verdicts")
        blocks = [questions[at : at + self.block] for at in range(0, len(questions), self.block)]
        missing = [block for block in blocks if any(not journal.get(q.key) for q in block)]
        if not missing:
            return
        from tuna.ranking.generate import Draw, Generator

        progress = Progress("verdicts", len(questions), len(questions) - sum(map(len, missing)))
        generator = Generator(self.model, max_tokens=self.max_tokens, device=self.device, dtype=self.dtype)
        for block in missing:
            prompts, fit = [], []
            for question in block:
                try:
                    prompts.append(generator.prompt(Record(question.case.record.id, question.prompt), cut=False))
                    fit.append(question)
                except ModelError as error:
                    context.aside[question.key] = str(error)
            draws = [Draw(i, (0, 0), 0.0) for i in range(len(prompts))]
            for question, answer in zip(fit, generator.draw(prompts, draws) if draws else [], strict=True):
                if not journal.get(question.key):
                    journal.append({"key": question.key, "text": answer.text, "finish_reason": answer.finish_reason})
            progress.update(len(block))
        progress.close()
