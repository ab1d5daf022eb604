"""What a benchmark works with: answers of whatever is measured, the store, a judge where it has one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuna.data.record import was_cut
from tuna.errors import ConfigError
from tuna.evaluation.base import Question
from tuna.evaluation.given import GivenAnswers, read_answers
from tuna.inference.answers import Answer, apart
from tuna.inference.context import Context
from tuna.inference.cost import Usage

if TYPE_CHECKING:
    from tuna.models.source import ModelConfig


@dataclass
class Desk:
    """One measurement at work.

    model: cfg.model. generation: how it answers. given: the answers that stand in for a model. nodes: the built config
    nodes that the benchmark needs. context: store, budget, prices. notes: what the result is to say beside the figures.
    unanswered: questions that the server gave no answer to, which the same command asks again. empty, cut, lost:
    questions, by id, whose answer has no text, or was cut by the token limit; of those without text, all that did not
    end so by themselves (cut, refused, reasoning alone).
    """

    model: "ModelConfig"
    generation: Any
    given: GivenAnswers | None
    nodes: Mapping[str, Any]
    context: Context
    limit: int | None = None
    seed: int = 0
    notes: list[str] = field(default_factory=list)
    unanswered: int = 0
    empty: list[str] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    _raw: dict[tuple[str, str], Answer] = field(default_factory=dict)

    def answer(self, questions: Sequence[Question], *, max_tokens: int) -> dict[str, str]:
        """Question's id -> text, of what is measured; ids without an answer are absent. Ids must differ.

        Raises:
            DataError: the file of answers answers none of the questions.
            ModelError, RunError: the model or the server fails.
        """
        if self.given is None:
            answers = self._ask(self.model, questions, max_tokens)
        else:
            answers, unused = _matched(self.given, questions)
            if unused:
                self.notes.append(f"{unused} rows of {self.given.path} answer no question of this benchmark")
        texts, self.empty, self.cut = self._read("", answers)
        self.lost = [i for i in self.empty if i in self.cut or _unsaid(answers[i])]
        self._raw = {(q.task, _own(q.task, q.id)): answers[q.id] for q in questions if q.id in answers}
        return texts

    def answers_of(self, source: str, questions: Sequence[Question], *, max_tokens: int) -> dict[str, str]:
        """The same for another system: a file of answers, else a model's name, run, folder or hub id."""
        if Path(source).is_file():
            return self._read(f"{source}: ", _matched(read_answers(source), questions)[0])[0]
        check_other(source, self.generation)
        return self._read(f"{source}: ", self._ask(replace(self.model, path=source), questions, max_tokens))[0]

    def _ask(self, model: "ModelConfig", questions: Sequence[Question], max_tokens: int) -> dict[str, Answer]:
        answers = self.generation.answer(model, questions, max_tokens, self.context)
        self.unanswered += answers.count(None)
        return {q.id: answer for q, answer in zip(questions, answers, strict=True) if answer is not None}

    def _read(self, who: str, answers: Mapping[str, Answer]) -> tuple[dict[str, str], list[str], list[str]]:
        """Texts to be marked; the ids of empty and of cut answers, which are noted. who: whose they are."""
        kept = self.generation is not None and self.generation.reasoning == "keep"
        texts = {name: (answer if kept else apart(answer)).text for name, answer in answers.items()}
        empty = [name for name, text in texts.items() if not text.strip()]
        cut = [name for name, answer in answers.items() if was_cut(answer.finish_reason)]
        thought = sum(texts[name] != answer.text for name, answer in answers.items())
        for count, what in (
            (len(empty), "answers are empty: no text, or none after the model's reasoning"),
            (len(cut), "answers were cut by the token limit"),
            (thought, "answers held reasoning, which was taken off (generation.reasoning=keep leaves it)"),
        ):
            if count:
                self.notes.append(f"{who}{count} of {len(answers)} {what}")
        return texts, empty, cut

    def told(self, example: dict[str, Any]) -> dict[str, Any]:
        """An example with what its marked text does not show: the raw answer, reasoning split off, that it was cut."""
        task = str(example.get("task", ""))
        answer = self._raw.get((task, _own(task, str(example["id"]))))
        if answer is None or not isinstance(text := example.get("prediction"), str):
            return example
        more = {
            "raw": answer.text if answer.text != text else None, "reasoning": answer.reasoning,
            "finish_reason": answer.finish_reason if was_cut(answer.finish_reason) else None,
        }  # fmt: skip
        return {**example, **{key: value for key, value in more.items() if value is not None}}

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


def _matched(given: GivenAnswers, questions: Sequence[Question]) -> tuple[dict[str, Answer], int]:
    found, unused = given.match(questions)
    return {q.id: Answer(found[q.task, q.id]) for q in questions if (q.task, q.id) in found}, unused


def _unsaid(answer: Answer) -> bool:
    return bool(answer.text or answer.reasoning or answer.refused)


def _own(task: str, name: str) -> str:
    """A question's id within its task."""
    return name.removeprefix(f"{task}/")


def check_likelihoods(given: GivenAnswers | None, generation: Any) -> None:
    """Raises ConfigError where there is no model on this machine, which alone gives log-probabilities."""
    if given is not None or generation.kind != "local":
        raise ConfigError("this benchmark needs the model's log-probabilities; give model.path=, generation=local")


def check_other(source: str, generation: Any) -> None:
    """Raises ConfigError where another system is a model, and no model answers on this machine."""
    if not Path(source).is_file() and generation.kind != "local":
        raise ConfigError(f"{source}: no such file; beside a server's answers expected a file of answers")
