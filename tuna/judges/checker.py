"""The offline judge: the embedded tasks' own checker; elsewhere ROUGE-L to the original response."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tuna.assets.checker import CHECKS, mark
from tuna.assets.replies import fault
from tuna.data.record import Record
from tuna.inference.context import Context
from tuna.judges.base import Case, Comparison, Judge, NoRuling, Pair, Ruling, dense_levels

_NOTHING = "judge=checker has neither check and answers nor an original response (output) to go by"


@dataclass
class Checker(Judge):
    """Marks each answer by itself; equal marks are ties. Costs nothing and sends nothing."""

    use_rouge: bool = True  # mark by ROUGE-L to the original response where a record cannot be checked; else no ruling

    def identity(self) -> dict[str, Any]:
        """What shapes its rulings."""
        return {"judge": "checker", "use_rouge": self.use_rouge}

    def judge(self, cases: Sequence[Case], context: Context) -> list[Ruling | NoRuling]:
        """A ruling per case."""
        rulings: list[Ruling | NoRuling] = []
        for case in cases:
            marks = self._marks(case.record, [answer.text for answer in case.answers])
            levels, notes = dense_levels([-mark for mark in marks]), {"by": self._by(case.record)}
            ruling = Ruling(levels, [round(mark, 6) for mark in marks], notes=notes)
            rulings.append(ruling if marks else NoRuling(_NOTHING))
        return rulings

    def compare(self, pairs: Sequence[Pair], context: Context) -> list[Comparison]:
        """A comparison per pair: the higher mark is better, whatever the order."""
        found = []
        for pair in pairs:
            marks = self._marks(pair.record, [pair.first, pair.second])
            sign = (marks[0] > marks[1]) - (marks[0] < marks[1]) if marks else None
            found.append(Comparison((sign, sign), "" if marks else _NOTHING))
        return found

    def can_judge(self, record: Record) -> bool:
        """Whether there is something to judge the answers by."""
        return self._by(record) is not None

    def _by(self, record: Record) -> str | None:
        """What gives the marks of a record's answers, or None."""
        extra = record.extra
        known = extra.get("check") in CHECKS and isinstance(extra.get("answers"), list | tuple)
        if known and not fault(extra):
            return "checker"
        return "rouge" if self.use_rouge and record.output is not None and record.output.strip() else None

    def _marks(self, record: Record, texts: Sequence[str]) -> list[float]:
        """A mark per text; empty where there is nothing to go by."""
        if (by := self._by(record)) is None:
            return []
        return [mark(record.extra, text) if by == "checker" else rouge_l(text, record.output or "") for text in texts]


# The words of the rouge-score package (runs of a-z and 0-9, lower case); letters of other scripts, which it drops, are
# words of one letter.
_WORDS = re.compile(r"[a-z0-9]+|[^\W_a-z0-9]")


def rouge_l(one: str, other: str) -> float:
    """ROUGE-L (Lin 2004), F1 of the longest common subsequence of words, without stemming, from 0 to 1.

    The same text is 1 even without a word in it. Fast enough for every pair of every set of samples.

    >>> round(rouge_l("the cat sat on the mat", "the cat lay on a mat"), 4), rouge_l("Your 2 hats.", "your 2 HATS")
    (0.6667, 1.0)
    """
    if one == other:
        return 1.0
    a, b = _WORDS.findall(one.lower()), _WORDS.findall(other.lower())
    if not a or not b:
        return 0.0
    return 2 * _common(a, b) / (len(a) + len(b))


def _common(a: list[str], b: list[str]) -> int:
    """Length of the longest common subsequence, one bit per word of ``a`` (Hyyro 2004)."""
    where: dict[str, int] = {}
    for index, word in enumerate(a):
        where[word] = where.get(word, 0) | 1 << index
    full = (1 << len(a)) - 1
    row = full
    for word in b:
        match = row & where.get(word, 0)
        row = ((row + match) | (row - match)) & full
    return len(a) - row.bit_count()
