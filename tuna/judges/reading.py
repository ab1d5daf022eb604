"""How the replies to a prompt are read: its form (rank, choice, score or JSON), and what one reply comes to."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from tuna.data.record import Record
from tuna.inference.answers import outside_thought
from tuna.judges.marks import Mark, chances_at
from tuna.judges.prompt import Kind, Prompt
from tuna.judges.replies import Reply, VerdictError, shortened
from tuna.judges.spelled import NUMBER, last_stated, spelled_mark, spelled_score
from tuna.judges.structured import read_object
from tuna.judges.verdict import Verdict, parse_verdict

Read = Literal["rank", "choice", "score", "json"]
OF_KIND: dict[Kind, Read] = {"listwise": "rank", "pairwise": "choice", "pointwise": "score"}
_LABEL = r"(?:(?:final|better|best|score|rating|grade|mark|answer|choice|verdict|response|is)[^A-Za-z0-9]+){0,3}"
_DIRECT_SCORE = re.compile(rf"[^A-Za-z0-9\-]*{_LABEL}{NUMBER}(?![.\d]*\d)", re.IGNORECASE)
_DIRECT_CHOICE = re.compile(rf"[^A-Za-z0-9]*(?i:{_LABEL})([ABC])(?=[^A-Za-z0-9 ]|\s*$|\s*\n)")


@dataclass(frozen=True)
class Form:
    """kind: of the prompt. chances: whether probabilities count: True needs them, None takes them where they are given.
    least: the probability that all marks must have together. direct: the reply is the mark alone. own: the judge may
    rank an answer of its own.
    """

    kind: Kind
    read: Read
    scale: tuple[int, int] = (1, 5)
    schema: Mapping[str, Any] | None = None
    field: str = ""
    direct: bool = False
    chances: bool | None = False
    least: float = 0.5
    own: bool = False

    @cached_property
    def values(self) -> dict[str, float]:
        """Marks as they are spelled, and what they are worth."""
        if self.kind == "pairwise":
            return {"A": 1.0, "B": -1.0, "C": 0.0}
        return {str(mark): float(mark) for mark in range(self.scale[0], self.scale[1] + 1)}

    def show(self, prompt: Prompt, record: Record, *answers: str) -> str:
        """What is asked about answers; CannotShow where the record lacks what the prompt mentions."""
        low, high = self.scale
        return prompt.render(record, low=low, high=high, direct=self.direct, **prompt.answers(*answers))

    def rank(self, reply: Reply, candidates: int) -> Verdict:
        """The rank of a listwise reply; VerdictError where it is none."""
        if self.schema is None:
            return parse_verdict(reply.text, candidates, finished=reply.finished, own=self.own)
        found = read_object(reply.text, reply.finished, self.schema, self.field)
        if not isinstance(found, list) or not all(type(k) is int for k in found):
            raise VerdictError(f"{self.field}: expected a list of numbers, got {shortened(str(found))}")
        return parse_verdict(f"rank: {found}", candidates, own=self.own)

    def mark(self, reply: Reply) -> Mark:
        """The mark of a pointwise or pairwise reply; VerdictError where it is none."""
        written: str | None = None
        try:
            written, at = self._written(reply)
        except VerdictError:
            if not self.direct or not reply.places:
                raise
            at = 0
        if self.chances is not False:
            try:
                return Mark.mean(chances_at(reply.places, at, written, self.values, self.least))
            except VerdictError:
                if self.chances or written is None:
                    raise
        assert written is not None
        return Mark(self.values[written] if written in self.values else float(written))

    def _written(self, reply: Reply) -> tuple[str, int]:
        """The mark as the reply spells it, and where; VerdictError where it spells none."""
        text = reply.text
        if self.schema is not None:
            mark = self._known(str(read_object(text, reply.finished, self.schema, self.field)))
            return mark, _last(rf'"{re.escape(self.field)}"\s*:\s*"?({re.escape(mark)})(?!\w)', text)
        if self.direct:
            if outside_thought(text) != text:
                raise VerdictError("the reply holds a thought; expected the mark alone")
            found = (_DIRECT_CHOICE if self.kind == "pairwise" else _DIRECT_SCORE).match(text)
            if found is None:
                raise VerdictError(f"expected a mark alone, got {shortened(text)!r}")
            return self._known(found[1]), found.start(1)
        if self.kind == "pairwise":
            mark = spelled_mark(text, reply.finished)
            return mark, _last(rf"\[\[\s*({mark})\s*\]\]", text)
        mark = self._known(spelled_score(text, reply.finished, self.scale[1]))
        return mark, last_stated(text, mark)

    def _known(self, mark: str) -> str:
        """The mark, if it is one; VerdictError for others."""
        if mark in self.values:
            return mark
        low, high = self.scale
        try:
            value = float(mark) if self.kind == "pointwise" else -1.0
        except ValueError:
            value = low - 1.0
        if self.kind == "pairwise" or not low <= value <= high:
            wanted = "A, B or C" if self.kind == "pairwise" else f"a score from {low} to {high}"
            raise VerdictError(f"expected {wanted}, got {shortened(mark)}")
        return str(int(value)) if value.is_integer() else mark


def _last(pattern: str, text: str) -> int:
    """Where the group of ``pattern`` last begins in a text, -1 where it does not."""
    return max((found.start(1) for found in re.finditer(pattern, text)), default=-1)
