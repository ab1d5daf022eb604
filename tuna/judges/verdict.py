"""A judge's reply as a ranking that can be trusted, or why it is none; nothing is guessed.

The judge's prompt (Table 9, Appendix E) asks for ``Response k: [sum]`` per response and, at the end, ``rank: [i, j]``.
Judges also draft in their thoughts, which are not read, and quote what responses say, which is no verdict. Replies are
hostile text: each pattern takes time linear in a text whose white space :func:`_plain` has shortened.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from tuna.judges.replies import VerdictError, outside_quotes, shortened, spoken

_WIDE = "\uff1a\uff3b\uff3d\u3010\u3011\uff0c\uff1e\u2192\u227b"  # full-width signs and arrows
_NARROW = ":[][],>>>"
_PLAIN = str.maketrans(
    dict(zip(_WIDE, _NARROW, strict=True)) | dict.fromkeys("*`\u2018\u2019\u201c\u201d\"'") | {"_": " "}
)
_ASIDE = r"(?:\s*\([^()\n]*\))?"  # (best to worst)
_HEADING = rf"^[ \t#>]*(?:(?:the|my|final|overall) +)*rank(?:ing|ings)?(?: +order)?{_ASIDE}[ \t]*\n"
_ANCHOR = re.compile(
    rf"(?:\brank(?:ing|ings|ed|s)?\b(?:\s+(?:is|order))?{_ASIDE}\s*[:=]|{_HEADING})\s*(?=\[|\d|response|#)",
    re.IGNORECASE | re.MULTILINE,
)
_NUMBER = r"(?:\#*\s*response\s*)?\#?\s*(\d{1,3})"
_ITEM = re.compile(rf"\s*{_NUMBER}\s*", re.IGNORECASE)
_BRACKETS = re.compile(r"\[([^\[\]]*+)(.?)", re.DOTALL)
_CHAIN = re.compile(rf"{_NUMBER}(?:\s*[,>]\s*{_NUMBER})+[ .]*+", re.IGNORECASE)
_SCORE = re.compile(
    r"^[ #>\-\u2022\d.)]*?response\s+(\d{1,3})\s*(?:[:=\u2013-]|\bscores?\b:?|\btotal\b:?)\s*(.+)$",
    re.IGNORECASE | re.MULTILINE,
)
_MARK = re.compile(
    r"\[?\s*(?:(?:sum|total|score|overall(?: score)?)?\s*[:=]?\s*)?"
    r"(\d+(?:\.\d+)?(?:\s*\+\s*\d+(?:\.\d+)?)*)\s*(?:/\s*15)?\s*(?:points?)?\s*\]?\.?"
)
_REFERENCE_END = re.compile(
    r"^[^\S\n]*+#*+[^\S\n]*+"
    r"(?:(?:third|fourth|last|duplicates?|ratings?|scores?|rank(?:ing)?|step\s*\d)\b|response\s+\d+\s*:)",
    re.IGNORECASE | re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the judge decided, in the numbers that the prompt gave the responses."""

    order: tuple[int, ...]  # candidates, best first, the judge's own reference left out
    reference: int | None = None  # its place in the judge's full rank; None where it was not ranked
    reference_text: str | None = None
    marks: Mapping[int, float] = field(default_factory=dict)  # 0 to 15 by response, where they could be read
    disagreements: int = 0  # pairs ranked against their marks


def parse_verdict(text: str, candidates: int, *, finished: bool = True, own: bool = True) -> Verdict:
    """Read a judge's reply about ``candidates`` responses (0 .. candidates - 1); with ``own``, the next is its own.
    finished: False where its token limit cut the reply.
    Raises VerdictError: no rank, one that is malformed, cut or only quoted, two that differ, unknown or repeated
    numbers, nothing but the reference, or an order that half of the marks contradict.

    >>> parse_verdict("Response 0: [9]\\nResponse 1: [14]\\n**rank: [4, 1, 0]**", 4).order
    (1, 0)
    >>> parse_verdict("rank: [1, 1, 0]", 4)
    Traceback (most recent call last):
    ...
    tuna.judges.replies.VerdictError: rank names a response twice: [1, 1, 0]
    """
    text = spoken(text, finished)
    plain = _plain(text)
    unquoted = _plain(outside_quotes(text, _counts))
    ranked = _rank(plain, unquoted, candidates)
    named = shortened(str(ranked))
    if len(set(ranked)) < len(ranked):
        raise VerdictError(f"rank names a response twice: {named}")
    last = candidates if own else candidates - 1
    if unknown := [k for k in ranked if k > last]:
        raise VerdictError(f"rank names unknown responses {shortened(str(unknown))} (known: 0 to {last}): {named}")
    order = tuple(k for k in ranked if k != candidates)
    if not order:
        raise VerdictError(f"rank names no candidate, only the judge's own response: {named}")
    marks = _marks(unquoted, candidates)
    if (against := _against(order, marks)) and against >= _against(order[::-1], marks):
        raise VerdictError(f"rank {named} is contradicted by half of the marks or more: {marks}")
    return Verdict(
        order=order,
        reference=ranked.index(candidates) if candidates in ranked else None,
        reference_text=_reference(text, candidates),
        marks=marks,
        disagreements=_against(ranked, marks),
    )


def _counts(quote: str) -> bool:
    """Whether a quote holds what would be read: a rank or a mark."""
    plain = _plain(quote)
    return bool(_ANCHOR.search(plain) or _SCORE.search(plain))


def _plain(text: str) -> str:
    """Without Markdown marks, with plain signs for full-width ones; white space is one space or one line break."""
    text = text.translate(_PLAIN).replace("\\[", "[").replace("\\]", "]")
    return re.sub(r" ?\n[ \n]*", "\n", re.sub(r"[^\S\n]+", " ", text))


def _rank(plain: str, own: str, candidates: int) -> list[int]:
    """The judge's rank, among its own words; what it quotes has to agree."""
    ranks = _ranks(plain)
    if not ranks:
        raise VerdictError("no rank: [...] found")
    if len({tuple(k for k in ranked if k != candidates) for ranked in ranks}) > 1:
        raise VerdictError(f"ranks that differ: {', '.join(map(shortened, map(str, reversed(ranks[:5]))))}")
    if not (ranks := _ranks(own)):
        raise VerdictError("no rank: [...] found but in a quote")
    return max(ranks, key=len)


def _ranks(plain: str) -> list[list[int]]:
    """The numbers of all ranks, the last first. A format example with letters is none; a broken last one is a fault."""
    ranks: list[list[int]] = []
    for anchor in reversed(list(_ANCHOR.finditer(plain))):
        try:
            found = (_bracketed if plain.startswith("[", anchor.end()) else _bare)(plain, anchor.end())
        except VerdictError:
            if not ranks:
                raise
            continue  # a broken one that was put right
        if found is not None:
            ranks.append(found)
    return ranks


def _bracketed(plain: str, start: int) -> list[int] | None:
    """The numbers in the brackets at ``start``; None for a placeholder such as [i, j, k]."""
    match = _BRACKETS.match(plain, start)
    assert match is not None
    inside, sign = match.groups()
    if not sign:
        raise VerdictError(f"rank is not closed: [{shortened(inside)}")
    if not re.search(r"\d", inside):
        if inside.strip():
            return None
        raise VerdictError("rank is empty: []")
    matches = [_ITEM.fullmatch(part) for part in re.split(r"[,>;]", inside)]
    if sign == "[" or not all(matches):
        raise VerdictError(f"rank holds more than numbers: [{shortened(inside + sign)}")
    return [int(match.group(1)) for match in matches if match]


def _bare(plain: str, start: int) -> list[int] | None:
    """A chain without brackets that ends its line: ``2 > 0 > 1``. None for prose that goes on."""
    if (match := _CHAIN.match(plain, start)) is None:
        return None
    after = plain[match.end() : match.end() + 1]
    if after in ("", "\n"):
        return [int(number) for number in re.findall(r"\d+", match.group())]
    if after in ",>=&/":
        raise VerdictError(f"rank holds more than numbers: {shortened(plain[start : start + 200])}")
    return None


def _marks(plain: str, candidates: int) -> dict[int, float]:
    """The last mark of each response that is plainly one: [12], 12, 12/15, 4 + 3 + 5 = 12."""
    found: dict[int, float] = {}
    for match in _SCORE.finditer(plain):
        value = _mark(match.group(2))
        if value is not None and int(match.group(1)) <= candidates:
            found[int(match.group(1))] = value
    return found


def _mark(text: str) -> float | None:
    match = _MARK.fullmatch(text.strip().lower().rpartition("=")[2].strip())
    value = float(sum(map(Decimal, re.split(r"\s*\+\s*", match.group(1))))) if match else -1.0
    return value if 0 <= value <= 15 else None  # by Decimal, 3.2 + 5.9 + 5.9 is 15, no more


def _against(ranked: Sequence[int], marks: Mapping[int, float]) -> int:
    """Pairs whose marks say the opposite of the rank."""
    return sum(
        marks[a] < marks[b] for place, a in enumerate(ranked) for b in ranked[place + 1 :] if a in marks and b in marks
    )


def _reference(text: str, candidates: int) -> str | None:
    """What the judge wrote under its own "Response N" heading, None where no such block stands by itself."""
    blank = r"[^\S\n]"
    heading = rf"(?im)^(?:{blank}|\*)*+#++(?:{blank}|\*)*+Response {candidates}(?:{blank}|\*)*+:\**{blank}*"
    if (start := re.search(heading, text)) is None:
        return None
    rest = text[start.end() :]
    end = _REFERENCE_END.search(rest.replace("*", " "))
    return (rest[: end.start()] if end else rest).strip() or None
