"""Lists put to a judge in words: the paper's prompt (Table 9, Appendix E), the reply as a ranking that can be trusted
or why not, the ruling. Nothing is guessed. Replies are hostile text: each pattern takes time linear in a text whose
white space :func:`_plain` has shortened.
"""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import combinations
from typing import Any

from tuna.data.messages import transcript
from tuna.data.record import Record
from tuna.data.templates import alpaca
from tuna.inference.context import Context
from tuna.inference.store import key_of
from tuna.judges.base import Case, NoRuling, Ruling, dense_levels
from tuna.judges.replies import Query, VerdictError, outside_quotes, said, shortened, spoken

VERSION = 1  # part of a verdict's key; raise it when a word of the prompt changes
_LETTERS = "ijklmnopqrstuvwxyzabcdefgh"

_GUIDE = """We would like you to rate Response {all} in reply to the given instruction displayed above.
First, identify if the instruction requires open-ended or close-ended responses.
Second, you need to generate one high quality \u2018###Response {own}\u2019 in answer to the instruction. It needs to have the same format as other responses and will be used as a reference later.
Third, identify if there are duplicate responses and keep only one of the duplicate responses for the following steps.
Fourth, compare Response {own} with Response {all}/{own} and assign each response an overall score on a scale of 0 to 15 where a higher score indicates better overall quality. For an open-ended instruction, please rate based on the relevance (score 0 to 5), level of details/justification: (score 0 to 5) and accuracy (score 0 to 5) of each response; for a close-ended instruction, please rate based on the accuracy (score 0 to 5), level of details/justification (score 0 to 5) and clarity (score 0 to 5) of each response. The ratings should have the format: \u2018Response k: [sum of the 3 individual scores you give to response k]\u2019.
Last, rank the responses in decreasing order of their overall scores. The ranking should have the format: \u2018rank: {full}\u2019. If there are duplicate responses, keep only one of them in the rank, that is, the ranking may become: {shorter} or even \u2018rank: [i]\u2019."""  # noqa: E501

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


def shown(record: Record) -> str:
    """The instruction, or a conversation's transcript: what people and judges read, and what tells questions apart.

    >>> turns = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "And?"}
    >>> shown(Record("0", "And?", messages=turns))
    'System: Be brief.\\n\\nUser: And?'
    """
    return transcript(record.messages) if record.messages else record.instruction


def request(record: Record) -> str:
    """The same with the input below it, where there is one."""
    return shown(record) + (f"\n\n{record.input}" if record.input else "")


def judge_prompt(record: Record, responses: Sequence[str]) -> str:
    """The prompt that asks a judge to rank ``responses``, in the order given; the judge's own is the next number.

    >>> judge_prompt(Record("0", "Say hi."), ["Hi.", "Hello."]).split("###Response")[1]
    ' 0:\\nHi.\\n'
    """
    blocks = "".join(f"\n###Response {k}:\n{text}" for k, text in enumerate(responses))
    asked = alpaca(Record(record.id, shown(record), record.input)).text
    return f"{asked}{blocks}\n{_guide(len(responses))}"


def _guide(count: int) -> str:
    letters = _LETTERS[: count + 1]
    shorter = [f"\u2018rank: [{', '.join(letters[:k])}]\u2019" for k in range(count, 1, -1)]
    full = f"[{', '.join(letters)}]"
    return _GUIDE.format(
        all="/".join(str(k) for k in range(count)),
        own=count,
        full=full.replace("j, k", "j ,k") if count == 4 else full,  # as printed
        shorter=" ".join([", ".join(shorter[:-1]), shorter[-1]]).strip(),
    )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the judge decided, in the numbers that the prompt gave the responses."""

    order: tuple[int, ...]  # candidates, best first, the judge's own reference left out
    reference: int | None = None  # its place in the judge's full rank; None where it was not ranked
    reference_text: str | None = None
    marks: Mapping[int, float] = field(default_factory=dict)  # 0 to 15 by response, where they could be read
    disagreements: int = 0  # pairs ranked against their marks


def parse_verdict(text: str, candidates: int, *, finished: bool = True) -> Verdict:
    """Read a judge's reply about ``candidates`` responses (0 .. candidates - 1); number ``candidates`` is its own.
    Raises VerdictError: no rank, one that is malformed, cut or only quoted, two that differ, unknown or repeated
    numbers, nothing but the reference, or an order that most of the marks contradict.

    >>> parse_verdict("Response 0: [9]\\nResponse 1: [14]\\n**rank: [4, 1, 0]**", 4).order
    (1, 0)
    >>> parse_verdict("rank: [1, 1, 0]", 4)
    Traceback (most recent call last):
    ...
    tuna.judges.replies.VerdictError: rank names a response twice: [1, 1, 0]
    """
    text = spoken(text, finished)
    plain = _plain(text)
    own = _plain(outside_quotes(text, _counts))
    ranked = _rank(plain, own, candidates)
    named = shortened(str(ranked))
    if len(set(ranked)) < len(ranked):
        raise VerdictError(f"rank names a response twice: {named}")
    if unknown := [k for k in ranked if k > candidates]:
        raise VerdictError(
            f"rank names unknown responses {shortened(str(unknown))} (known: 0 to {candidates}): {named}"
        )
    order = tuple(k for k in ranked if k != candidates)
    if not order:
        raise VerdictError(f"rank names no candidate, only the judge's own response: {named}")
    marks = _marks(own, candidates)
    if _against(order, marks) > _against(order[::-1], marks):
        raise VerdictError(f"rank {named} is contradicted by most of the marks: {marks}")
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


def orders_of(count: int, asked: int, *, seed: int, record_id: str) -> list[tuple[int, ...]]:
    """The orders in which candidates are shown: shuffled by (seed, record), then the same reversed.

    >>> first, second = orders_of(4, 2, seed=0, record_id="q1")
    >>> sorted(first), second == first[::-1]
    ([0, 1, 2, 3], True)
    """
    order = list(range(count))
    random.Random(f"{seed}\0{record_id}").shuffle(order)
    return [tuple(order), tuple(reversed(order))][:asked]


def queries_of(case: Case, identity: dict[str, Any], orders: int, seed: int) -> list[Query[Verdict]]:
    """The prompts that decide one case; their verdicts are in the candidates' own numbers."""
    found = []
    for order in orders_of(len(case.answers), orders, seed=seed, record_id=case.record.id):
        prompt = judge_prompt(case.record, [case.answers[k].text for k in order])
        found.append(Query(key_of(**identity, version=VERSION, prompt=prompt), prompt, _reader(order)))
    return found


def _reader(order: Sequence[int]) -> Callable[[str, bool], Verdict]:
    own = *order, len(order)  # the judge's answer comes after the candidates

    def read(text: str, finished: bool) -> Verdict:
        found = parse_verdict(text, len(order), finished=finished)
        marks = {own[k]: mark for k, mark in found.marks.items()}
        return replace(found, order=tuple(own[k] for k in found.order), marks=marks)

    return read


def rule(case: Case, queries: Sequence[Query[Verdict]], context: Context, *, keep_reference: bool) -> Ruling | NoRuling:
    """The ruling on one case from the verdicts on all its queries; two orders are averaged by position."""
    verdicts = []
    for query in queries:
        found = said(query, context)
        if found.verdict is None:
            reason = context.why(query.key) or (found.reasons or [""])[-1]
            asked = bool(reason) and query.key not in context.failed
            return NoRuling(reason or "not asked yet", found.raw, asked)
        verdicts.append(found.verdict)
    candidates = range(len(case.answers))
    places = [[v.order.index(k) if k in v.order else None for v in verdicts] for k in candidates]
    means = [None if None in of_one else _mean(of_one) for of_one in places]
    marks = [_mean([v.marks.get(k) for v in verdicts]) for k in candidates]
    own, reference = verdicts[0].reference_text, verdicts[0].reference
    # The judge's own answer stands just before as many of the candidates as it beats.
    place = None if not keep_reference or own is None or reference is None else reference - 0.5
    *levels, own_level = dense_levels([*means, place])
    if sum(level is not None for level in (*levels, own_level)) < 2:
        return NoRuling("the verdict leaves fewer than two answers", [str(verdict.order) for verdict in verdicts])
    shown_in = orders_of(len(candidates), len(queries), seed=context.seed, record_id=case.record.id)
    notes: dict[str, Any] = {
        "orders": [list(order) for order in shown_in],
        "ranks": [list(verdict.order) for verdict in verdicts],
        "disagreements": sum(verdict.disagreements for verdict in verdicts),
    }
    kept = None if own is None or own_level is None else (own, own_level)
    return Ruling(levels, marks, kept, notes, *_flips(places))


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean of those that are known; None where none is."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _flips(places: Sequence[Sequence[int | None]]) -> tuple[int, int]:
    """Pairs that both verdicts rank, and how many of them they rank differently: (flips, pairs)."""
    known = [[place for place in of_one if place is not None] for of_one in places]
    both = [of_one for of_one in known if len(of_one) == 2]
    turned = [(a[0] < b[0]) != (a[1] < b[1]) for a, b in combinations(both, 2)]
    return sum(turned), len(turned)
