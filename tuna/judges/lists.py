"""Lists put to a judge in words: the paper's prompt (Table 9, Appendix E), the orders that are shown, the ruling."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from tuna.data.messages import transcript
from tuna.data.record import Record
from tuna.data.templates import alpaca
from tuna.inference.context import Context
from tuna.inference.store import key_of
from tuna.judges.base import Case, NoRuling, Ruling, dense_levels
from tuna.judges.replies import Query, said
from tuna.judges.verdict import Verdict, parse_verdict

VERSION = 1  # part of a verdict's key; raise it when a word of the prompt changes
_LETTERS = "ijklmnopqrstuvwxyzabcdefgh"

_GUIDE = """We would like you to rate Response {all} in reply to the given instruction displayed above.
First, identify if the instruction requires open-ended or close-ended responses.
Second, you need to generate one high quality \u2018###Response {own}\u2019 in answer to the instruction. It needs to have the same format as other responses and will be used as a reference later.
Third, identify if there are duplicate responses and keep only one of the duplicate responses for the following steps.
Fourth, compare Response {own} with Response {all}/{own} and assign each response an overall score on a scale of 0 to 15 where a higher score indicates better overall quality. For an open-ended instruction, please rate based on the relevance (score 0 to 5), level of details/justification: (score 0 to 5) and accuracy (score 0 to 5) of each response; for a close-ended instruction, please rate based on the accuracy (score 0 to 5), level of details/justification (score 0 to 5) and clarity (score 0 to 5) of each response. The ratings should have the format: \u2018Response k: [sum of the 3 individual scores you give to response k]\u2019.
Last, rank the responses in decreasing order of their overall scores. The ranking should have the format: \u2018rank: {full}\u2019. If there are duplicate responses, keep only one of them in the rank, that is, the ranking may become: {shorter} or even \u2018rank: [i]\u2019."""  # noqa: E501


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
