"""What a judge gives: positions of the candidates, marks, and why there is no ruling where there is none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tuna.data.record import Record
from tuna.ranking.answers import Answer
from tuna.ranking.context import Context
from tuna.ranking.cost import Price, Prices, Usage


@dataclass(frozen=True, slots=True)
class Case:
    """One instruction with the answers to be ranked."""

    record: Record
    answers: Sequence[Answer]


@dataclass(frozen=True, slots=True)
class Ruling:
    """levels: a position a candidate, 0 the best, equal ones tied, None left out. marks: the judge's, where given.

    own: the judge's own answer and its position. notes: what the output records of it. flips of pairs: two orders of
    asking disagreed about so many of so many pairs.
    """

    levels: Sequence[int | None]
    marks: Sequence[float | None]
    own: tuple[str, int] | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)
    flips: int = 0
    pairs: int = 0


@dataclass(frozen=True, slots=True)
class NoRuling:
    """Why there is none, and what the judge wrote. asked: False when it was not (fully) asked: the run was stopped."""

    reason: str
    raw: Sequence[str] = ()
    asked: bool = True


class Judge(Protocol):
    """Ranks cases. What can be set is its constructor's."""

    def identity(self) -> dict[str, Any]:
        """What shapes its rulings."""

    def price_in(self, prices: Prices) -> Price | None:
        """Dollars a million tokens, None where they are not known."""

    def estimate(self, records: Sequence[Record], n: int, answer_tokens: int, context: Context) -> Usage:
        """What judging ``n`` answers of about ``answer_tokens`` tokens each will use."""

    def judge(self, cases: Sequence[Case], context: Context) -> list[Ruling | NoRuling]:
        """A ruling a case."""


def dense_levels(values: Sequence[float | None]) -> list[int | None]:
    """Positions from values, lower is better: equal values share one, and no position is skipped.

    >>> dense_levels([2.0, 0.5, None, 2.0])
    [1, 0, None, 1]
    """
    known = sorted({value for value in values if value is not None})
    return [None if value is None else known.index(value) for value in values]
