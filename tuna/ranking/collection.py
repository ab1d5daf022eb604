"""What a ranker is given and what it gives back."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tuna.data.record import Record
from tuna.inference.context import Context
from tuna.inference.cost import Usage


@dataclass
class Components:
    """The config's nodes, built. A ranker uses those that it needs."""

    teacher: Any = None
    judge: Any = None
    sampler: Any = None
    model: Any = None
    seed: int = 0
    score_only: bool = False


@dataclass
class Collected:
    """rows: the ranked lists, in input order. unusable: what got none, with reason and raw text. missing: not asked.

    flips, pairs: of a judge that was asked both ways.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    unusable: list[dict[str, Any]] = field(default_factory=list)
    missing: int = 0
    flips: int = 0
    pairs: int = 0

    def add(self, row: dict[str, Any]) -> None:
        """One ranked list."""
        self.rows.append(row)

    def set_aside(self, record: Record, reason: str, raw: Sequence[Any] = ()) -> None:
        """One instruction without a list."""
        self.unusable.append({"id": record.id, "instruction": record.instruction, "reason": reason, "raw": list(raw)})

    @property
    def dropped(self) -> dict[str, int]:
        """Why answers were left out of lists, and how many for each reason."""
        left_out = [answer for row in self.rows for answer in row.get("dropped", ())]
        left_out += [answer for row in self.unusable for answer in row["raw"] if isinstance(answer, Mapping)]
        return dict(Counter(str(answer["reason"]) for answer in left_out))

    def lacks(self, record: Record, reason: str) -> None:
        """One instruction without all its answers: set aside for a reason, or not asked because the run was stopped."""
        if reason:
            self.set_aside(record, reason)
        else:
            self.missing += 1


class Ranker(Protocol):
    """From instructions to ranked lists. What can be set is its constructor's."""

    def needs(self, score_only: bool) -> tuple[str, ...]:
        """The config's nodes that it uses."""

    def embedded(self, parts: Components) -> bool:
        """Whether only embedded models are asked, which the embedded instructions fit."""

    def identities(self, parts: Components) -> tuple[dict[str, Any], dict[str, Any]]:
        """Of what answers, and of what ranks."""

    def prices(self, parts: Components, context: Context) -> Mapping[str, Any]:
        """Journal -> price, for summing up what was used."""

    def estimate(self, records: Sequence[Record], parts: Components, context: Context) -> Mapping[str, Usage]:
        """What is still to be asked, by who is asked."""

    def collect(self, records: Sequence[Record], parts: Components, context: Context) -> Collected:
        """The ranked lists."""
