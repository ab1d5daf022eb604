"""A benchmark, what it works with, and what it gives back."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from tuna.data.record import was_cut
from tuna.errors import ConfigError
from tuna.evaluation.questions import GivenAnswers, OpenQuestions, Question, read_answers
from tuna.inference.answers import Answer, apart
from tuna.inference.context import Context
from tuna.inference.cost import Usage
from tuna.judges.prompt import shown
from tuna.stats import Interval


@dataclass
class EvalContext:
    """What one measurement works with."""

    model: Any  # cfg.model
    generation: Any  # how it answers
    given: GivenAnswers | None  # the answers that stand in for a model
    nodes: Mapping[str, Any]  # the built config nodes
    inference: Context  # store, budget, prices
    seed: int = 0
    notes: list[str] = field(default_factory=list)  # what the result says next to the figures
    unanswered: int = 0  # questions that the server gave no answer to, which the same command asks again
    raw: Mapping[str, Answer] = field(default_factory=dict)  # the answers of what is measured, by question's id
    texts: Mapping[str, str] = field(default_factory=dict)  # what of them is marked
    here: list[str] = field(default_factory=list)  # by ``estimate``: what this machine would compute

    def answer(self, questions: Sequence[Question], *, max_tokens: int, source: str | None = None) -> Mapping[str, str]:
        """Question's id -> text; ids without an answer are absent. Ids must differ.

        source: another system than what is measured: a file of answers, else a model's name, run, folder or hub id.
        Raises: DataError where the file answers no question; ModelError, RunError where the model or server fails.
        """
        given, model = self._who(source)
        if given is None:
            drawn = self.generation.answer(model, questions, max_tokens, self.inference)
            self.unanswered += drawn.count(None)
            answers = {q.id: answer for q, answer in zip(questions, drawn, strict=True) if answer is not None}
        else:
            found, unused = given.match(questions)
            answers = {q.id: Answer(found[q.task, q.id]) for q in questions if (q.task, q.id) in found}
            if unused and source is None:
                self.notes.append(f"{unused} rows of {given.path} answer no question of this benchmark")
        texts = self._marked(answers, f"{source}: " if source else "")
        if source is None:
            self.raw, self.texts = answers, texts
        return texts

    def _who(self, source: str | None) -> tuple[GivenAnswers | None, Any]:
        """The answers that are given, or else the model that answers."""
        if source is None:
            return self.given, self.model
        if Path(source).is_file():
            return read_answers(source), None
        return None, replace(self.model, path=source)

    def _marked(self, answers: Mapping[str, Answer], who: str) -> dict[str, str]:
        """What is marked of answers. What is odd about them is noted, behind whose they are."""
        kept = self.generation is not None and self.generation.reasoning == "keep"
        texts = {name: (answer if kept else apart(answer)).text for name, answer in answers.items()}
        odd = {
            "answers are empty: no text, or none after the model's reasoning": len(_empty(texts)),
            "answers were cut by the token limit": len(_cut(answers)),
            "answers are to questions that were shortened, to fit the model's positions": len(_shortened(answers)),
            "answers held reasoning, which was taken off (generation.reasoning=keep leaves it)": sum(
                texts[name] != answer.text for name, answer in answers.items()
            ),
        }
        self.notes += [f"{who}{count} of {len(answers)} {what}" for what, count in odd.items() if count]
        return texts

    def coverage(self, result: "Result") -> dict[str, Any]:
        """How many of how many questions count (n of N); which have no answer, an empty one, one that was cut, or one
        to a question that was shortened.

        An empty answer counts where the model ended it so by itself: it was not cut or refused, and no reasoning alone.
        """
        odd = {"empty": _empty(self.texts), "cut": _cut(self.raw), "shortened": _shortened(self.raw)}
        said = {name for name, answer in self.raw.items() if answer.text or answer.reasoning or answer.refused}
        lost = {*result.missing, *({*odd["empty"]} & {*odd["cut"], *said})}
        found = {"n": result.expected - len(lost), "N": result.expected, "missing": result.missing}
        return found | {key: names for key, names in odd.items() if names}

    def example(self, question: Question, scores: Mapping[str, Any], **more: object) -> dict[str, Any]:
        """A row of examples.jsonl; next to a prediction also what that does not show: raw answer, reasoning, a cut."""
        row: dict[str, Any] = {"id": question.id, "task": question.task, "instruction": shown(question.record)}
        row |= {**more, "scores": scores}
        answer, text = self.raw.get(question.id), more.get("prediction")
        if answer is not None and text is not None:
            row |= {"raw": answer.text} if answer.text != text else {}
            row |= {"reasoning": answer.reasoning} if answer.reasoning is not None else {}
            row |= {"finish_reason": answer.finish_reason} if was_cut(answer.finish_reason) else {}
        return row

    def estimate(self, questions: Sequence[Question], *, max_tokens: int, source: str | None = None) -> Usage:
        """What a server would be asked for these answers; nothing where they are given, or where the model is here:
        then what it would generate stands in ``here``. source: as for ``answer``.
        """
        given, model = self._who(source)
        if given is not None:
            return Usage()
        if self.generation.kind == "local":
            self.here.append(self.generation.work(model, questions, max_tokens, self.inference))
        usage: Usage = self.generation.estimate(questions, max_tokens, self.inference)
        return usage


def _empty(texts: Mapping[str, str]) -> list[str]:
    return [name for name, text in texts.items() if not text.strip()]


def _cut(answers: Mapping[str, Answer]) -> list[str]:
    return [name for name, answer in answers.items() if was_cut(answer.finish_reason)]


def _shortened(answers: Mapping[str, Answer]) -> list[str]:
    return [name for name, answer in answers.items() if answer.shortened]


@dataclass
class Result:
    """What was measured."""

    scores: dict[str, float | None]
    primary: str  # the name of the score that stands in tables
    examples: list[dict[str, Any]]  # a JSON object each, with id, task, instruction, prediction, scores
    expected: int = 0  # the number of questions (N)
    missing: list[str] = field(default_factory=list)  # ids of those without an answer or a verdict
    unsettled: int = 0  # how many of them the same command would ask again
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # rows by name
    intervals: dict[str, Interval] = field(default_factory=dict)  # 95%, by score; those of no list are left out
    baselines: dict[str, dict[str, float]] = field(default_factory=dict)  # by score: what it would be without a model
    notes: list[str] = field(default_factory=list)
    lower_is_better: tuple[str, ...] = ()


class Benchmark(ABC):
    """A measurement. Its constructor's arguments are its settings; one file here and one YAML in conf/benchmark/."""

    name: ClassVar[str]
    uses_model = True  # whether there is a model (or a file of answers) to measure
    shaped_by: ClassVar[tuple[str, ...]] = ()  # the settings that shape figures
    hashes: Mapping[str, Any]  # by ``prepare``: of the data, and versions of the scoring
    asked: Sequence[Question] = ()  # by ``prepare``: the questions that are put to what is measured, if there are any
    max_tokens: int  # of an answer to one

    def needs(self) -> tuple[str, ...]:
        """Further config nodes that it uses, such as a judge."""
        return ()

    def title(self, nodes: Mapping[str, Any]) -> str:
        """What is measured is called so in results, where it is no model."""
        return self.name

    @abstractmethod
    def prepare(self, limit: int | None) -> None:
        """Read and check the files, before any weights load. limit: of questions. Raises: ConfigError, DataError."""

    def identity(self) -> dict[str, Any]:
        """What shapes the figures besides the model. After ``prepare``."""
        return {"benchmark": self.name, **self.hashes, **{key: getattr(self, key) for key in self.shaped_by}}

    def check(self, given: GivenAnswers | None, generation: object) -> None:
        """Raise a ConfigError or DataError where answers or model cannot be measured. After ``prepare``, no weights."""
        if given is not None:
            given.match(self.asked)

    def estimate(self, context: EvalContext) -> Mapping[str, Usage]:
        """What a server or a judge would be asked at most, by who is asked."""
        return {"answers": context.estimate(self.asked, max_tokens=self.max_tokens)} if self.asked else {}

    @abstractmethod
    def measure(self, context: EvalContext) -> Result:
        """Ask, score, sum up."""


def other_fingerprint(source: str, questions: OpenQuestions) -> str:
    """A hash of another system: of a model, or of a file, whose answers all belong to ``questions`` (DataError)."""
    if Path(source).is_file():
        questions.check(given := read_answers(source))
        return given.sha256
    from tuna.models.reward import writer  # loads torch
    from tuna.models.source import ModelConfig

    return writer(ModelConfig(source)).fingerprint


def check_other(source: str, generation: Any) -> None:
    """Raises ConfigError where another system is a model, and no model answers on this machine."""
    if not Path(source).is_file() and generation.kind != "local":
        raise ConfigError(
            f"{source}: no such file; expected a file of answers where a server answers (generation=openai)"
        )
