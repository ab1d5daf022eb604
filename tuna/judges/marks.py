"""Marks: a number on a scale, or which of two answers is better; as the judge wrote it, or as the mean over the
probabilities of all marks where it stands (Wang et al., 2025, arXiv 2503.03064: the mean beats the likeliest mark).
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from tuna.judges.replies import Place, VerdictError

_PIECE = re.compile(r"\d{1,3}|[A-Za-z]")  # a token that may be a mark
_KEPT = 16  # places of one reply that are stored


@dataclass(frozen=True, slots=True)
class Mark:
    """What one reply comes to. chances: the probability of each value at its place, 1 in all; None: read as text."""

    value: float
    chances: Mapping[float, float] | None = None

    @classmethod
    def mean(cls, chances: Mapping[float, float]) -> Self:
        """The mean over the marks' probabilities, which sum to 1.

        >>> Mark.mean({1: 0.25, 5: 0.75}).value
        4.0
        """
        return cls(round(math.fsum(value * chance for value, chance in chances.items()), 6), chances)

    @property
    def sign(self) -> int:
        """1, 0 or -1."""
        return (self.value > 0) - (self.value < 0)

    def turned(self, sign: int) -> Self:
        """The same about the other answer, where ``sign`` is -1."""
        chances = None if self.chances is None else {sign * value: chance for value, chance in self.chances.items()}
        return type(self)(sign * self.value, chances)


def core(token: str) -> str:
    """A token without the signs around it.

    >>> core(" [[A"), core("4\\n"), core(" Score:")
    ('A', '4', 'Score')
    """
    return re.sub(r"^[^A-Za-z0-9]+|[^A-Za-z0-9]+$", "", token)


def places_in(logprobs: object, text: str) -> list[Place]:
    """The places of ``text`` that may be marks, and its first token, of a choice's ``logprobs`` (OpenAI's chat form).
    None where its tokens do not spell the text: a thought that is split off may stand before it.
    """
    content = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    items = [item for item in content if isinstance(item, Mapping)] if isinstance(content, list) else []
    pieces = [_spelled(item) for item in items]
    whole, given = b"".join(pieces), text.encode("utf-8", "replace")
    start = whole.rfind(given)
    found, end = list[Place](), 0
    for item, piece in zip(items, pieces, strict=True):
        begin, end = end, end + len(piece)
        if start < 0 or end <= start or begin >= start + len(given):
            continue
        token = piece.decode("utf-8", "replace")
        if begin <= start or _PIECE.fullmatch(core(token)):
            at = len(given[: max(0, begin - start)].decode("utf-8", "ignore"))
            found.append(Place(at, token, _top(item)))
    return found[:1] + found[1:][-_KEPT:]


def _spelled(item: Mapping[str, Any]) -> bytes:
    given = item.get("bytes")
    if isinstance(given, list) and all(isinstance(b, int) and 0 <= b < 256 for b in given):
        return bytes(given)
    return str(item.get("token") or "").encode("utf-8", "replace")


def _top(item: Mapping[str, Any]) -> dict[str, float]:
    """The alternatives that may be marks, with their log-probabilities; the token itself is one of them."""
    given = item.get("top_logprobs")
    rows = [item, *(row for row in given if isinstance(row, Mapping))] if isinstance(given, list) and given else []
    known = {str(row.get("token")): row.get("logprob") for row in rows}
    return {
        token: round(float(value), 6)
        for token, value in known.items()
        if isinstance(value, int | float) and -9999 < value <= 1e-3 and _PIECE.fullmatch(core(token))
    }


def chances_at(
    places: Sequence[Place], at: int, spelled: str | None, values: Mapping[str, float], least: float
) -> Mapping[float, float]:
    """The probability of each mark at position ``at`` of the text, of those that were seen, 1 in all.

    values: marks as they are spelled. spelled: the mark that has to stand there; None takes whatever does. A mark is
    one token: where "1" stands for 1 and may begin "10", the text alone says which. Raises VerdictError: there are no
    log-probabilities at that place, or all marks have less than ``least`` of the probability together.

    >>> at = Place(7, " 4", {" 4": math.log(0.5), "5": math.log(0.25), " good": math.log(0.25)})
    >>> {mark: round(chance, 3) for mark, chance in chances_at([at], 8, "4", {"4": 4, "5": 5}, 0.5).items()}
    {4: 0.667, 5: 0.333}
    """
    there = [p for p in places if p.at <= at < p.at + len(p.token) and spelled in (None, core(p.token))]
    mass: dict[str, float] = {}
    for token, value in there[0].top.items() if there else ():
        if (mark := core(token)) in values:
            mass[mark] = mass.get(mark, 0.0) + math.exp(value)
    if not mass:
        raise VerdictError("no log-probabilities of the marks where the mark stands")
    covered = math.fsum(mass.values())
    if covered < least:
        raise VerdictError(f"the marks have {covered:.3g} of the probability at their place, less than {least:g}")
    for mark in values.keys() - mass:
        if any(mass.get(mark[:end], 0.0) > 0.01 * covered for end in range(1, len(mark))):
            raise VerdictError(f"{mark} is spelled by several tokens, and the first may be a mark of its own")
    found: dict[float, float] = {}
    for mark, value in mass.items():  # two may be spellings of one value
        found[values[mark]] = found.get(values[mark], 0.0) + value / covered
    return found
