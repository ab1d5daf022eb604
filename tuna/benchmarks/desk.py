"""What a benchmark works with: answers of whatever is measured, the store, a judge where it has one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuna.benchmarks.base import Question
from tuna.benchmarks.given import GivenAnswers, read_answers
from tuna.errors import ConfigError
from tuna.ranking.context import Context
from tuna.ranking.cost import Usage

if TYPE_CHECKING:
    from tuna.models.source import Model


@dataclass
class Desk:
    """One measurement at work.

    model: cfg.model. generation: how it answers. given: the answers that stand in for a model. nodes: the built config
    nodes that the benchmark needs. context: store, budget, prices. notes: what the result is to say beside the figures.
    unanswered: questions that the server gave no answer to, which the same command asks again.
    """

    model: "Model"
    generation: Any
    given: GivenAnswers | None
    nodes: Mapping[str, Any]
    context: Context
    limit: int | None = None
    seed: int = 0
    notes: list[str] = field(default_factory=list)
    unanswered: int = 0

    def answer(self, questions: Sequence[Question], *, max_tokens: int) -> dict[str, str]:
        """Question's id -> text, of what is measured; ids without an answer are absent. Ids must differ.

        Raises:
            DataError: the file of answers answers none of the questions.
            ModelError, RunError: the model or the server fails.
        """
        if self.given is not None:
            found, unused = self.given.match(questions)
            if unused:
                self.notes.append(f"{unused} rows of {self.given.path} answer no question of this benchmark")
            return {q.id: found[q.task, q.id] for q in questions if (q.task, q.id) in found}
        return self._ask(self.model, questions, max_tokens)

    def answers_of(self, source: str, questions: Sequence[Question], *, max_tokens: int) -> dict[str, str]:
        """The same for another system: a file of answers, else a model's name, run, folder or hub id."""
        if Path(source).is_file():
            found, _ = read_answers(source).match(questions)
            return {q.id: found[q.task, q.id] for q in questions if (q.task, q.id) in found}
        check_other(source, self.generation)
        return self._ask(replace(self.model, path=source), questions, max_tokens)

    def _ask(self, model: "Model", questions: Sequence[Question], max_tokens: int) -> dict[str, str]:
        texts = self.generation.answer(model, questions, max_tokens, self.context)
        self.unanswered += texts.count(None)
        return {q.id: text for q, text in zip(questions, texts, strict=True) if text is not None}

    def estimate(self, questions: Sequence[Question], *, max_tokens: int) -> Usage:
        """What a server would be asked for these answers; nothing where the model is here or the answers are given."""
        if self.given is not None:
            return Usage()
        usage: Usage = self.generation.estimate(questions, max_tokens, self.context)
        return usage

    @cached_property
    def count_tokens(self) -> Any:
        """Tokens of a text by the measured model's tokenizer; of a server's model at least as many as there are."""
        if self.given is not None:
            return lambda text: -(-len(text.encode()) // 3)
        return self.generation.counter(self.model)

    @property
    def max_positions(self) -> int | None:
        """Longest sequence of the measured model, None where it is not known."""
        return None if self.given is not None or self.generation.kind != "local" else self.model.max_positions()

    @cached_property
    def scorer(self) -> "tuple[Any, Any]":
        """(response scorer in eval mode, tokenizer) of a local model, for figures made of likelihoods.

        Raises:
            ConfigError: what is measured is no model on this machine.
        """
        check_likelihoods(self.given, self.generation)
        import torch
        from transformers.utils.logging import disable_progress_bar

        from tuna.models.device import device_named
        from tuna.models.loading import load_scorer

        disable_progress_bar()
        device, dtype = device_named(self.generation.device), self.generation.dtype
        kind = torch.float32 if dtype == "auto" else getattr(torch, dtype)
        return load_scorer(self.model, dtype=kind).eval().to(device), self.model.tokenizer()


def check_likelihoods(given: GivenAnswers | None, generation: Any) -> None:
    """Raises ConfigError where there is no model on this machine, which alone gives log-probabilities."""
    if given is not None or generation.kind != "local":
        raise ConfigError("this benchmark needs the model's log-probabilities; give model.path=, generation=local")


def check_other(source: str, generation: Any) -> None:
    """Raises ConfigError where another system is a model, and no model answers on this machine."""
    if not Path(source).is_file() and generation.kind != "local":
        raise ConfigError(f"{source}: no such file; beside a server's answers expected a file of answers")
