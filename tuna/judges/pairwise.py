"""Two answers, which is better: the prompt, asked with the first answer of a pair as A, then as B, so that a judge who
likes a place decides nothing by it.
"""

from collections.abc import Sequence
from typing import Any

from tuna.data.record import Record
from tuna.inference.context import Context
from tuna.inference.store import key_of
from tuna.judges.base import Comparison, Pair
from tuna.judges.marks import Mark
from tuna.judges.prompt import Prompt
from tuna.judges.reading import Form
from tuna.judges.replies import Query, said

PAIRWISE = Prompt.load("pairwise")
VERSION = 1  # part of a verdict's key; raise it when a word of the prompt changes
CHOICE = Form("pairwise", "choice")


def pair_prompt(record: Record, a: str, b: str) -> str:
    """The prompt that asks a judge to compare ``a`` with ``b``.

    >>> pair_prompt(Record("0", "Say hi.", "In French."), "Salut.", "Hi.").split("=====")[2]
    '\\nSay hi.\\n\\nIn French.\\n'
    """
    return PAIRWISE.render(record, a=a, b=b)


def queries_of(
    pair: Pair, identity: dict[str, Any], prompt: Prompt = PAIRWISE, form: Form = CHOICE
) -> list[Query[Mark]]:
    """The two prompts that decide a pair, its first answer as A, then as B; none for equal answers, which tie."""
    if pair.first.strip() == pair.second.strip():
        return []

    def query(a: str, b: str, sign: int) -> Query[Mark]:
        asked = form.show(prompt, pair.record, a, b)
        key = key_of(**identity, pairwise=VERSION, prompt=asked)
        return Query(key, asked, lambda reply: form.mark(reply).turned(sign))

    return [query(pair.first, pair.second, 1), query(pair.second, pair.first, -1)]


def comparison(queries: Sequence[Query[Mark]], context: Context) -> Comparison:
    """What the stored replies to both prompts of a pair come to; a pair without prompts is of equal answers, a tie."""
    if not queries:
        return Comparison((0, 0))
    first, second = found = [said(query, context) for query in queries]
    if first.verdict is None or second.verdict is None:
        signs = [None if each.verdict is None else each.verdict.sign for each in found]
        return unread(queries, context, (signs[0], signs[1]))
    marks = first.verdict, second.verdict
    preference = None
    if all(mark.chances is not None for mark in marks):
        preference = round((1 + (marks[0].value + marks[1].value) / 2) / 2, 6)
    return Comparison((marks[0].sign, marks[1].sign), preference=preference)


def unread(queries: Sequence[Query[Any]], context: Context, verdicts: tuple[int | None, int | None]) -> Comparison:
    """A comparison of which a reply is missing, or none can be read: why, and the replies that are none."""
    found = [(query.key, said(query, context)) for query in queries]
    left = [(key, each) for key, each in found if each.verdict is None]
    reasons = [context.why(key) or (each.reasons or ["not asked yet"])[-1] for key, each in left]
    raw = tuple(text for _, each in left for text in each.raw)
    asked = all(key not in context.failed and (key in context.aside or each.reasons) for key, each in left)
    return Comparison(verdicts, "; ".join(dict.fromkeys(reasons)), raw, asked=asked)
