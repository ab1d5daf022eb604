"""What a judge gives: positions of the candidates of a list, the better of two; and why not, where there is nothing."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from tuna.data.record import Record
from tuna.errors import ConfigError
from tuna.inference.answers import Answer
from tuna.inference.context import Context
from tuna.inference.cost import Price, Prices, Usage


@dataclass(frozen=True, slots=True)
class Case:
    """One instruction with the answers to be ranked."""

    record: Record
    answers: Sequence[Answer]


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a judge makes of a case."""

    levels: Sequence[float | None]  # a position per candidate, lower is better, equal ones tied, None left out
    marks: Sequence[float | None] = ()  # the judge's, if given
    own: tuple[str, int] | None = None  # the judge's own answer and its position
    notes: Mapping[str, Any] = field(default_factory=dict)  # what the output records of it
    flips: int = 0  # pairs about which two orders of asking disagreed
    pairs: int = 0  # pairs that both orders ranked


@dataclass(frozen=True, slots=True)
class NoRuling:
    """Why there is no ruling."""

    reason: str
    raw: Sequence[str] = ()  # what the judge wrote
    asked: bool = True  # False when it was not (fully) asked: the run was stopped


@dataclass(frozen=True, slots=True)
class Pair:
    """One instruction with two answers to be compared."""

    record: Record
    first: str
    second: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Verdicts of the order as given and of the reversed one, both about the first answer: 1 it is better, -1 it
    is worse, 0 neither, None no readable verdict.
    """

    verdicts: tuple[int | None, int | None]
    reason: str = ""  # why there is none
    raw: Sequence[str] = ()  # the replies that are none
    asked: bool = True  # False when it was not (fully) asked: the run was stopped
    preference: float | None = None  # the probability that the first answer is better, averaged over both orders

    @property
    def outcome(self) -> Literal["win", "lose", "tie", "error"]:
        """For the first answer: a win or a loss needs both orders. Where they disagree it is a tie, unless there is a
        preference, which then decides: a win above 0.5, a loss below it, a tie at it.

        >>> [Comparison(v).outcome for v in ((1, 1), (-1, -1), (1, -1), (1, 0), (1, None))]
        ['win', 'lose', 'tie', 'tie', 'error']
        >>> [Comparison((1, -1), preference=p).outcome for p in (0.6, 0.5, 0.2)]
        ['win', 'tie', 'lose']
        """
        if None in self.verdicts:
            return "error"
        sign = self.verdicts[0] or 0
        if self.flipped:
            sign = 0 if self.preference is None else (self.preference > 0.5) - (self.preference < 0.5)
        return "win" if sign > 0 else "lose" if sign < 0 else "tie"

    @property
    def flipped(self) -> bool:
        """Whether both orders were readable and disagree."""
        return None not in self.verdicts and self.verdicts[0] != self.verdicts[1]


class Judge(ABC):
    """Ranks cases and compares pairs. Its constructor's arguments are its settings. A free one needs three methods."""

    asks_again: ClassVar[bool] = False  # whether the next run asks anew where there was no readable verdict
    lacking: ClassVar[str] = (  # why it cannot judge a record
        "they carry neither check and answers nor an original response (output) to compare with"
    )

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What shapes its rulings."""

    @abstractmethod
    def judge(self, cases: Sequence[Case], context: Context) -> list[Ruling | NoRuling]:
        """A ruling per case."""

    @abstractmethod
    def compare(self, pairs: Sequence[Pair], context: Context) -> list[Comparison]:
        """A comparison per pair."""

    def can_judge(self, record: Record) -> bool:
        """Whether there is something to judge the answers by."""
        return True

    def repeated(self, number: int) -> "Judge":
        """Itself, to be asked anew under other keys. Raises ConfigError where its replies would be the same again."""
        raise ConfigError("whatever its settings")

    def price_in(self, prices: Prices) -> Price | None:
        """Dollars per million tokens, None where they are not known."""
        return Price(0.0, 0.0)

    def estimate(self, records: Sequence[Record], n: int, answer_tokens: int, context: Context) -> Usage:
        """What judging ``n`` answers of about ``answer_tokens`` tokens each will use."""
        return Usage()

    def estimate_pairs(self, pairs: Sequence[Pair], context: Context) -> Usage:
        """What comparing them will use."""
        return Usage()


def unjudged(judge: Judge | None, records: Sequence[Record]) -> str:
    """Which of the records the judge cannot judge, in words; empty where it can judge all, or there is no judge."""
    left = [record.where or record.id for record in records if judge is not None and not judge.can_judge(record)]
    if judge is None or not left:
        return ""
    shown = ", ".join(left[:3]) + (", ..." if len(left) > 3 else "")
    return (
        f"judge={judge.identity()['judge']} cannot judge {len(left):,} of {len(records):,} questions ({shown}): "
        f"{judge.lacking}"
    )


def dense_levels(values: Sequence[float | None]) -> list[int | None]:
    """Positions from values, lower is better: equal values share one, and no position is skipped.

    >>> dense_levels([2.0, 0.5, None, 2.0])
    [1, 0, None, 1]
    """
    known = sorted({value for value in values if value is not None})
    return [None if value is None else known.index(value) for value in values]
