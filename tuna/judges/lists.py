"""Lists put to a judge in words: the paper's prompt (Table 9, Appendix E), the orders that are shown, the ruling."""

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from tuna.data.record import Record
from tuna.inference.answers import Answer
from tuna.inference.context import Context
from tuna.inference.store import key_of
from tuna.judges.base import Case, NoRuling, Pair, Ruling, dense_levels
from tuna.judges.marks import Mark
from tuna.judges.prompt import Prompt
from tuna.judges.reading import Form
from tuna.judges.replies import Query, Reply, verdicts_of
from tuna.judges.verdict import Verdict

TABLE9 = Prompt.load("table9")
RANK = Form("listwise", "rank", own=True)
VERSION = 1  # part of a verdict's key; raise it when a word of the prompt changes


def judge_prompt(record: Record, responses: Sequence[str]) -> str:
    """The prompt that asks a judge to rank ``responses``, in the order given; the judge's own is the next number.

    >>> judge_prompt(Record("0", "Say hi."), ["Hi.", "Hello."]).split("###Response")[1]
    ' 0:\\nHi.\\n'
    """
    return TABLE9.render(record, responses=list(responses))


def orders_of(count: int, asked: int, *, seed: int, record_id: str) -> list[tuple[int, ...]]:
    """The orders in which candidates are shown: shuffled by (seed, record), then the same reversed.

    >>> first, second = orders_of(4, 2, seed=0, record_id="q1")
    >>> sorted(first), second == first[::-1]
    ([0, 1, 2, 3], True)
    """
    order = list(range(count))
    random.Random(f"{seed}\0{record_id}").shuffle(order)
    return [tuple(order), tuple(reversed(order))][:asked]


def queries_of(
    case: Case, identity: dict[str, Any], orders: int, seed: int, prompt: Prompt = TABLE9, form: Form = RANK
) -> list[Query[Verdict]]:
    """The prompts that decide one case; their verdicts are in the candidates' own numbers."""
    shown_in = orders_of(len(case.answers), orders, seed=seed, record_id=case.record.id)
    return [query_in(order, case, identity, prompt, form) for order in shown_in]


def query_in(order: Sequence[int], case: Case, identity: dict[str, Any], prompt: Prompt, form: Form) -> Query[Verdict]:
    """The prompt that shows the answers in one order."""
    asked = form.show(prompt, case.record, *(case.answers[k].text for k in order))
    own = *order, len(order)  # the judge's answer comes after the candidates

    def read(reply: Reply) -> Verdict:
        found = form.rank(reply, len(order))
        marks = {own[k]: mark for k, mark in found.marks.items()}
        return replace(found, order=tuple(own[k] for k in found.order), marks=marks)

    return Query(key_of(**identity, version=VERSION, prompt=asked), asked, read)


def pair_queries(pair: Pair, identity: dict[str, Any], prompt: Prompt, form: Form) -> list[Query[Mark]]:
    """The prompts that decide a pair as a list of two, in both orders; one that is left out as a duplicate ties."""
    case = Case(pair.record, [Answer(pair.first), Answer(pair.second)])

    def query(order: tuple[int, int]) -> Query[Mark]:
        found = query_in(order, case, identity, prompt, form)

        def read(reply: Reply) -> Mark:
            ranked = found.read(reply).order
            return Mark(0.0 if len(ranked) < 2 else 1.0 - 2 * ranked[0])

        return Query(found.key, found.prompt, read)

    return [query((0, 1)), query((1, 0))]


def rule(case: Case, queries: Sequence[Query[Verdict]], context: Context, *, keep_reference: bool) -> Ruling | NoRuling:
    """The ruling on one case from the verdicts on all its queries; two orders are averaged by position."""
    verdicts = verdicts_of(queries, context)
    if isinstance(verdicts, NoRuling):
        return verdicts
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
