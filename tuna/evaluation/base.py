"""What a benchmark is given, what it gives back, and what each of them has to say of itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from tuna.data.record import Record
from tuna.inference.cost import Usage

if TYPE_CHECKING:
    from tuna.evaluation.desk import Desk
    from tuna.evaluation.given import GivenAnswers

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Question:
    """One thing to answer: ``record`` under the model's template is the prompt. (task, id) names it."""

    id: str
    record: Record
    task: str = ""


@dataclass
class Result:
    """What was measured.

    scores: the figures, by name. primary: the name of the one that stands in tables. examples: a JSON object each, with
    id, task, instruction, prediction, scores. expected: how many questions there are (N). missing: those without an
    answer or a verdict, by id. unsettled: how many of them the same command would ask again. tables: rows by name.
    intervals: 95% [low, high] of a score. baselines: what a score would be without a model, by name.
    """

    scores: dict[str, float | None]
    primary: str
    examples: list[dict[str, Any]]
    expected: int
    missing: list[str] = field(default_factory=list)
    unsettled: int = 0
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    baselines: dict[str, dict[str, float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    lower_is_better: tuple[str, ...] = ()


class Benchmark(ABC):
    """A measurement. What can be set of it is its constructor's; one file here and one YAML in conf/benchmark/."""

    name: ClassVar[str]

    def needs(self) -> tuple[str, ...]:
        """Further config nodes that it uses, such as a judge."""
        return ()

    def uses_model(self) -> bool:
        """Whether there is a model (or a file of answers) to measure."""
        return True

    def estimate(self, desk: Desk) -> Mapping[str, Usage]:
        """What a judge would be asked at most, by who is asked."""
        return {}

    @abstractmethod
    def prepare(self, limit: int | None) -> None:
        """Read and check the files, before any weights load.

        limit: so many questions.

        Raises:
            ConfigError, DataError: what is wrong with settings or files.
        """

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What shapes the figures, beside the model: hashes of the data, settings, the scoring's version."""

    def check(self, given: GivenAnswers | None, generation: Any) -> None:  # noqa: B027 (few have to ask more)
        """Whether what is measured can be: a file of answers, or what ``generation`` names. After ``prepare``.

        Raises:
            ConfigError, DataError: it cannot, told before any weights load.
        """

    def judged(self) -> Sequence[Record]:
        """The questions that a judge has to judge. After ``prepare``."""
        return ()

    @abstractmethod
    def measure(self, desk: Desk) -> Result:
        """Ask, score, sum up."""


def spread(items: Sequence[T], tasks: Sequence[str], limit: int | None) -> list[T]:
    """The first items of each task in turn until there are ``limit``, in their old order; all without a limit.

    >>> spread(["a1", "a2", "a3", "b1"], ["a", "a", "a", "b"], 3)
    ['a1', 'a2', 'b1']
    """
    if limit is None or limit >= len(items):
        return list(items)
    seen: dict[str, int] = {}
    turns = []
    for index, task in enumerate(tasks):
        turns.append((seen.get(task, 0), index))
        seen[task] = seen.get(task, 0) + 1
    return [items[index] for index in sorted(index for _, index in sorted(turns)[:limit])]
