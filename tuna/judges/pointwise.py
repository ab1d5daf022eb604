"""Each answer marked by itself: a list is ordered by the marks, a pair is compared by them."""

from collections.abc import Sequence
from itertools import product
from typing import Any

from tuna.data.record import Record
from tuna.inference.context import Context
from tuna.inference.store import key_of
from tuna.judges.base import Comparison, NoRuling, Ruling, dense_levels
from tuna.judges.marks import Mark
from tuna.judges.pairwise import unread
from tuna.judges.prompt import Prompt
from tuna.judges.reading import Form
from tuna.judges.replies import Query, said, verdicts_of

VERSION = 1  # part of a verdict's key; raise it when what is asked changes for equal words


def queries_of(
    record: Record, texts: Sequence[str], identity: dict[str, Any], prompt: Prompt, form: Form
) -> list[Query[Mark]]:
    """A prompt per answer; equal answers have one."""
    asked = [form.show(prompt, record, text) for text in texts]
    return [Query(key_of(**identity, pointwise=VERSION, prompt=each), each, form.mark) for each in asked]


def rule(queries: Sequence[Query[Mark]], context: Context) -> Ruling | NoRuling:
    """The ruling on one case from the marks of all its answers: equal marks are ties."""
    marks = verdicts_of(queries, context)
    if isinstance(marks, NoRuling):
        return marks
    return Ruling(dense_levels([-mark.value for mark in marks]), [mark.value for mark in marks])


def comparison(queries: Sequence[Query[Mark]], context: Context) -> Comparison:
    """The difference of two marks, the same in both orders. preference: the probability that a draw from the first
    answer's marks is above one from the second's, a draw of equal ones counting half.
    """
    if not queries:  # of equal answers
        return Comparison((0, 0))
    found = [said(query, context).verdict for query in queries]
    if found[0] is None or found[1] is None:
        return unread(queries, context, (None, None))
    first, second = found[0], found[1]
    sign = (first.value > second.value) - (first.value < second.value)
    if first.chances is None or second.chances is None:
        return Comparison((sign, sign))
    each = product(first.chances.items(), second.chances.items())
    preference = sum(p * q * (1.0 if a > b else 0.5 if a == b else 0.0) for (a, p), (b, q) in each)
    return Comparison((sign, sign), preference=round(preference, 6))
