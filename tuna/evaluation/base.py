"""A benchmark, what it works with, and what it gives back."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tuna.stats import Interval
from tuna.data.record import Record, was_cut
from tuna.errors import ConfigError
from tuna.evaluation.questions import GivenAnswers, OpenQuestions, Question, read_answers
from tuna.inference.answers import Answer, apart
from tuna.inference.context import Context
from tuna.inference.cost import Usage

if TYPE_CHECKING:
    from tuna.models.source import ModelConfig


@dataclass
class EvalContext:
    """What one measurement works with.

    model: cfg.model. generation: how it answers. given: the answers that stand in for a model. nodes: the built config
    nodes that the benchmark needs. inference: store, budget, prices. notes: what the result is to say beside the
    figures. unanswered: the number of questions that the server gave no answer to, which the same command asks again.
    empty, cut, lost: questions, by id, whose answer has no text, or was cut by the token limit; of those without text,
    all that did not end so by themselves (cut, refused, reasoning alone).
    """

    model: "ModelConfig"
    generation: Any
    given: GivenAnswers | None
    nodes: Mapping[str, Any]
    inference: Context
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
        said = {i for i, answer in answers.items() if answer.text or answer.reasoning or answer.refused}
        self.lost = [i for i in self.empty if i in self.cut or i in said]
        self._raw = {(q.task, q.own_id): answers[q.id] for q in questions if q.id in answers}
        return texts

    def answers_of(self, source: str, questions: Sequence[Question], *, max_tokens: int) -> dict[str, str]:
        """The same for another system: a file of answers, else a model's name, run, folder or hub id."""
        if Path(source).is_file():
            answers = _matched(read_answers(source), questions)[0]
        else:
            answers = self._ask(replace(self.model, path=source), questions, max_tokens)
        return self._read(f"{source}: ", answers)[0]

    def _ask(self, model: "ModelConfig", questions: Sequence[Question], max_tokens: int) -> dict[str, Answer]:
        answers = self.generation.answer(model, questions, max_tokens, self.inference)
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

    def with_raw(self, example: dict[str, Any]) -> dict[str, Any]:
        """An example with what its marked text does not show: the raw answer, reasoning split off, that it was cut."""
        task = str(example.get("task", ""))
        answer = self._raw.get((task, str(example["id"]).removeprefix(f"{task}/")))
        if answer is None or not isinstance(text := example.get("prediction"), str):
            return example
        more = {
            "raw": answer.text if answer.text != text else None, "reasoning": answer.reasoning,
            "finish_reason": answer.finish_reason if was_cut(answer.finish_reason) else None,
        }  # fmt: skip
        return example | {key: value for key, value in more.items() if value is not None}

    def estimate(self, questions: Sequence[Question], *, max_tokens: int) -> Usage:
        """What a server would be asked for these answers; nothing where the model is here or the answers are given."""
        if self.given is not None:
            return Usage()
        usage: Usage = self.generation.estimate(questions, max_tokens, self.inference)
        return usage


@dataclass
class Result:
    """What was measured.

    scores: the figures, by name. primary: the name of the one that stands in tables. examples: a JSON object each, with
    id, task, instruction, prediction, scores. expected: the number of questions (N). missing: those without an answer
    or a verdict, by id. unsettled: how many of them the same command would ask again. tables: rows by name. intervals:
    95%, of scores by name; those of no list are left out. baselines: what a score would be without a model, by name.
    """

    scores: dict[str, float | None]
    primary: str
    examples: list[dict[str, Any]]
    expected: int = 0
    missing: list[str] = field(default_factory=list)
    unsettled: int = 0
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    intervals: dict[str, Interval] = field(default_factory=dict)
    baselines: dict[str, dict[str, float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    lower_is_better: tuple[str, ...] = ()


class Benchmark(ABC):
    """A measurement. Its constructor's arguments are its settings; one file here and one YAML in conf/benchmark/.

    asked: the questions that are put to what is measured, set by ``prepare``; max_tokens: of an answer to one. A
    benchmark without such questions leaves them alone.
    """

    name: ClassVar[str]
    asked: Sequence[Question] = ()
    max_tokens: int

    def needs(self) -> tuple[str, ...]:
        """Further config nodes that it uses, such as a judge."""
        return ()

    def uses_model(self) -> bool:
        """Whether there is a model (or a file of answers) to measure."""
        return True

    @abstractmethod
    def prepare(self, limit: int | None) -> None:
        """Read and check the files, before any weights load.

        limit: the number of questions at most.

        Raises:
            ConfigError, DataError: what is wrong with settings or files.
        """

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What shapes the figures, beside the model: hashes of the data, settings, the scoring's version."""

    def check(self, given: GivenAnswers | None, generation: Any) -> None:
        """Whether what is measured can be: a file of answers, or what ``generation`` names. After ``prepare``.

        Raises:
            ConfigError, DataError: it cannot, told before any weights load.
        """
        if given is not None:
            given.match(self.asked)

    def judged(self) -> Sequence[Record]:
        """The questions that a judge has to judge. After ``prepare``."""
        return ()

    def estimate(self, context: EvalContext) -> Mapping[str, Usage]:
        """What a server or a judge would be asked at most, by who is asked."""
        return {"answers": context.estimate(self.asked, max_tokens=self.max_tokens)} if self.asked else {}

    @abstractmethod
    def measure(self, context: EvalContext) -> Result:
        """Ask, score, sum up."""


def other_fingerprint(source: str, questions: OpenQuestions) -> str:
    """A hash of another system: of a file, whose answers must all belong to ``questions``, or of a model.

    Raises:
        ConfigError, DataError, ModelError: there is no such model, or the file or the model cannot be used.
    """
    if Path(source).is_file():
        given = read_answers(source)
        questions.check(given)
        return given.sha256
    from tuna.models.reward_source import writer
    from tuna.models.source import ModelConfig

    return writer(ModelConfig(source)).fingerprint


def check_other(source: str, generation: Any) -> None:
    """Raises ConfigError where another system is a model, and no model answers on this machine."""
    if not Path(source).is_file() and generation.kind != "local":
        raise ConfigError(f"{source}: no such file; beside a server's answers expected a file of answers")


def _matched(given: GivenAnswers, questions: Sequence[Question]) -> tuple[dict[str, Answer], int]:
    found, unused = given.match(questions)
    return {q.id: Answer(found[q.task, q.id]) for q in questions if (q.task, q.id) in found}, unused
