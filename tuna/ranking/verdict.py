"""From what a judge wrote to a ranking that can be trusted, or a reason why not. Nothing is ever guessed.

The judge's prompt (Table 9, Appendix E) asks for ``Response k: [sum]`` a response and, at the end, ``rank: [i, j, k]``.
Judges write the word in prose too, draft in their thoughts, and quote what the responses say: thoughts are never read,
and two ranks that differ are none.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from tuna.ranking.thought import outside_thought

MAX_MARK = 15.0

_WIDE = "\uff1a\uff3b\uff3d\u3010\u3011\uff0c\uff1e\u2192\u227b"  # full-width signs and arrows
_NARROW = ":[][],>>>"

_ASIDE = r"(?:\s*\([^()\n]*\))?"  # (best to worst)
_HEADING = rf"^[ \t#>]*(?:(?:the|my|final|overall)\s+)*rank(?:ing|ings)?(?:\s+order)?{_ASIDE}[ \t]*\n"
_ANCHOR = re.compile(
    rf"(?:\brank(?:ing|ings|ed|s)?\b(?:\s+(?:is|order))?{_ASIDE}\s*[:=]|{_HEADING})\s*(?=\[|\d|response|#)",
    re.IGNORECASE | re.MULTILINE,
)
_NUMBER = r"(?:\#*\s*response\s*)?\#?\s*(\d{1,3})"
_ITEM = re.compile(rf"\s*{_NUMBER}\s*", re.IGNORECASE)
_CHAIN = re.compile(rf"{_NUMBER}(?:\s*[,>]\s*{_NUMBER})+", re.IGNORECASE)
_SCORE = re.compile(
    r"^[\s#>\-\u2022\d.)]*?response\s+(\d{1,3})\s*(?:[:=\u2013-]|\bscores?\b:?|\btotal\b:?)\s*(.+)$",
    re.IGNORECASE | re.MULTILINE,
)
_REFERENCE_END = re.compile(
    r"^\s*(?:#+\s*)?(?:third|fourth|last|duplicates?|ratings?|scores?|rank(?:ing)?|step\s*\d)\b|^[\s#]*response\s+\d+\s*:",
    re.IGNORECASE | re.MULTILINE,
)


class VerdictError(Exception):
    """Why a reply is no verdict that can be trusted."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the judge decided, in the numbers that the prompt gave the responses.

    order: candidates, best first, the judge's own reference left out. reference: its place in the judge's full rank
    (None where it was not ranked) and ``reference_text`` what it wrote. marks: 0 to 15 by response, where they could be
    read. disagreements: pairs ranked against their marks.
    """

    order: tuple[int, ...]
    reference: int | None = None
    reference_text: str | None = None
    marks: Mapping[int, float] = field(default_factory=dict)
    disagreements: int = 0


def parse_verdict(text: str, candidates: int, *, finished: bool = True) -> Verdict:
    """Read a judge's reply about ``candidates`` responses (0 .. candidates - 1); number ``candidates`` is its own.

    finished: False when the reply was cut by its token limit; what comes before the cut is then no verdict.

    >>> parse_verdict("Response 0: [9]\\nResponse 1: [14]\\n**rank: [4, 1, 0]**", 4).order
    (1, 0)
    >>> parse_verdict("rank: [1, 1, 0]", 4)
    Traceback (most recent call last):
    ...
    tuna.ranking.verdict.VerdictError: rank names a response twice: [1, 1, 0]

    Raises:
        VerdictError: no rank, one that is malformed or cut, two that differ, unknown or repeated numbers, nothing but
            the reference.
    """
    if not finished:
        raise VerdictError("the reply was cut by its token limit")
    text = outside_thought(text)
    plain = _plain(text)
    ranked = _rank(plain, candidates)
    shown = str(ranked)
    if len(set(ranked)) < len(ranked):
        raise VerdictError(f"rank names a response twice: {shown}")
    if unknown := [k for k in ranked if k > candidates]:
        raise VerdictError(f"rank names unknown responses {unknown} (known: 0 to {candidates}): {shown}")
    order = tuple(k for k in ranked if k != candidates)
    if not order:
        raise VerdictError(f"rank names no candidate, only the judge's own response: {shown}")
    marks = _marks(plain, candidates)
    return Verdict(
        order=order,
        reference=ranked.index(candidates) if candidates in ranked else None,
        reference_text=_reference(text, candidates),
        marks=marks,
        disagreements=_disagreements(ranked, marks),
    )


def _plain(text: str) -> str:
    """Without Markdown marks; full-width and typographic signs as plain ones."""
    text = text.translate({ord(a): b for a, b in zip(_WIDE, _NARROW, strict=True)})
    text = re.sub(r"[*`\u2018\u2019\u201c\u201d\"']|\\(?=[\[\]])", "", text)
    return text.replace("\r\n", "\n").replace("\u00a0", " ").replace("_", " ")


def _rank(plain: str, candidates: int) -> list[int]:
    """The numbers of the last rank. A format example with letters is none; a broken last one is a fault.

    Raises:
        VerdictError: no rank, or others before it that order the candidates differently.
    """
    ranks: list[list[int]] = []
    for anchor in reversed(list(_ANCHOR.finditer(plain))):
        rest = plain[anchor.end() :]
        try:
            found = _bracketed(rest) if rest.startswith("[") else _bare(rest)
        except VerdictError:
            if not ranks:
                raise
            continue  # a broken one that was put right
        if found is not None:
            ranks.append(found)
    if not ranks:
        raise VerdictError("no rank: [...] found")
    if len({tuple(k for k in ranked if k != candidates) for ranked in ranks}) > 1:
        raise VerdictError(f"ranks that differ: {', '.join(map(str, reversed(ranks)))}")
    return max(ranks, key=len)


def _bracketed(rest: str) -> list[int] | None:
    """The numbers in brackets; None for a placeholder such as [i, j, k].

    Raises:
        VerdictError: brackets that hold something else, or are never closed.
    """
    inside, closed, _ = rest[1:].partition("]")
    if not closed:
        raise VerdictError(f"rank is not closed: [{_short(inside)}")
    if not re.search(r"\d", inside):
        if inside.strip():
            return None
        raise VerdictError("rank is empty: []")
    parts = re.split(r"[,>;]", inside)
    matches = [_ITEM.fullmatch(part) for part in parts]
    if not all(matches):
        raise VerdictError(f"rank holds more than numbers: [{_short(inside)}]")
    return [int(match.group(1)) for match in matches if match]


def _bare(rest: str) -> list[int] | None:
    """A chain without brackets that ends its line: ``2 > 0 > 1``. None for prose that goes on."""
    match = _CHAIN.match(rest)
    if match is None:
        return None
    after = rest[match.end() :].partition("\n")[0].strip(" .")
    if after:
        if after[0] in ",>=&/":
            raise VerdictError(f"rank holds more than numbers: {_short(rest)}")
        return None
    return [int(number) for number in re.findall(r"\d+", match.group())]


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 60 else text[:57] + "..."


def _marks(plain: str, candidates: int) -> dict[int, float]:
    """The last mark of each response that is plainly one: [12], 12, 12/15, 4 + 3 + 5 = 12."""
    found: dict[int, float] = {}
    for match in _SCORE.finditer(plain):
        value = _mark(match.group(2))
        if value is not None and int(match.group(1)) <= candidates:
            found[int(match.group(1))] = value
    return found


_MARK = re.compile(
    r"(?:\[?\s*(?:sum|total|score|overall(?: score)?)?\s*[:=]?\s*)?"
    r"(\d+(?:\.\d+)?)\s*(?:/\s*15)?\s*(?:points?)?\s*\]?\.?"
)


def _mark(said: str) -> float | None:
    said = said.strip().lower()
    if re.fullmatch(r"\[?\s*\d+(?:\.\d+)?(?:\s*\+\s*\d+(?:\.\d+)?)+\s*(?:\]|=.*)?", said) and "=" not in said:
        value = float(sum(map(Decimal, re.findall(r"\d+(?:\.\d+)?", said))))  # 3.2 + 5.9 + 5.9 is 15, no more
    else:
        match = _MARK.fullmatch(said.rpartition("=")[2].strip())
        if match is None:
            return None
        value = float(match.group(1))
    return value if 0 <= value <= MAX_MARK else None


def _disagreements(ranked: list[int], marks: Mapping[int, float]) -> int:
    """Pairs whose marks say the opposite of the rank."""
    return sum(
        marks[a] < marks[b] for place, a in enumerate(ranked) for b in ranked[place + 1 :] if a in marks and b in marks
    )


def _reference(text: str, candidates: int) -> str | None:
    """What the judge wrote under its own "Response N" heading, None where no such block stands by itself."""
    heading = re.compile(rf"^[\s*]*#+\s*\**\s*Response {candidates}\s*\**\s*:\**[ \t]*", re.IGNORECASE | re.MULTILINE)
    start = heading.search(text)
    if start is None:
        return None
    rest = text[start.end() :]
    end = _REFERENCE_END.search(rest.replace("*", " "))
    said = (rest[: end.start()] if end else rest).strip()
    return said or None
