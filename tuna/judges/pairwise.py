"""Two answers, which is better: the prompt, and the marks [[A]], [[B]], [[C]]. The first answer of a pair stands as A,
then as B, so that a judge who likes a place decides nothing by it.
"""

import re
from collections.abc import Sequence
from typing import Any

from tuna.data.record import Record
from tuna.inference.context import Context
from tuna.inference.store import key_of
from tuna.judges.base import Comparison, Pair
from tuna.judges.prompt import Prompt
from tuna.judges.replies import Query, VerdictError, outside_quotes, said, shortened, spoken

PAIRWISE = Prompt.load("pairwise")
VERSION = 1  # part of a verdict's key; raise it when a word of the prompt changes
_SIGNS = {"A": 1, "B": -1, "C": 0}
_MARK = re.compile(r"\[\[(.*?)(?:\]\]|$)")
_ALONE = re.compile(r"[*_`#>\s]*\[\[\s*[ABC]\s*\]\][*_`.\s]*")
_ESCAPED = str.maketrans({"\uff3b": "[", "\uff3d": "]", "\\": None, "\u00a0": " "})

_ASKED = (
    "[[A]] if Answer A is better", "[[B]] if Answer B is better", "[[C]] if neither is better than the other",
)  # fmt: skip


def pair_prompt(record: Record, a: str, b: str) -> str:
    """The prompt that asks a judge to compare ``a`` with ``b``.

    >>> pair_prompt(Record("0", "Say hi.", "In French."), "Salut.", "Hi.").split("=====")[2]
    '\\nSay hi.\\n\\nIn French.\\n'
    """
    return PAIRWISE.render(record, a=a, b=b)


def parse_mark(text: str, finished: bool = True) -> int:
    """1 for [[A]], -1 for [[B]], 0 for [[C]]: the mark on the last line that has any in double brackets.

    Thoughts are not read, and a mark that stands only in a quote is none. A line before it may hold several marks, as
    where the judge repeats what it was asked for, if the last holds its own and nothing else; none may hold another.

    >>> parse_mark("I end with [[A]], [[B]] or [[C]].\\nB is right where A errs.\\n\\n**[[B]]**")
    -1
    >>> parse_mark("[[A]] or [[B]]")
    Traceback (most recent call last):
    ...
    tuna.judges.replies.VerdictError: more than one verdict on its line: [[A]] or [[B]]
    """
    return _SIGNS[spelled_mark(text, finished)]


def spelled_mark(text: str, finished: bool = True) -> str:
    """The letter of the same."""
    text = spoken(text, finished).translate(_ESCAPED)
    lines = _marked(text)
    if not lines:
        raise VerdictError("no [[A]], [[B]] or [[C]] found")
    last = _marks(lines[-1])
    shown = shortened(lines[-1])
    if not last <= _SIGNS.keys():
        raise VerdictError(f"expected [[A]], [[B]] or [[C]], got {shown}")
    if len(last) > 1:
        raise VerdictError(f"more than one verdict on its line: {shown}")
    rivals = [line for line in lines if (_marks(line) & _SIGNS.keys()) - last]
    if any(len(_marks(line)) == 1 for line in rivals) or (rivals and not _ALONE.fullmatch(lines[-1])):
        raise VerdictError(f"verdicts that differ: {shortened(rivals[-1])} and {shown}")
    if not any(_marks(line) == last for line in _marked(outside_quotes(text, lambda quote: "[[" in quote))):
        raise VerdictError(f"no [[A]], [[B]] or [[C]] found but in a quote: {shown}")
    return last.pop()


def _marked(text: str) -> list[str]:
    """The lines that hold double brackets, without the prompt's own."""
    lines = (line.strip() for line in text.splitlines() if "[[" in line)
    return [line for line in lines if line not in _ASKED]


def _marks(line: str) -> set[str]:
    """What stands in double brackets; empty for brackets that are not closed."""
    return {match.group(1).strip() if match.group().endswith("]]") else "" for match in _MARK.finditer(line)}


def queries_of(pair: Pair, identity: dict[str, Any]) -> list[Query[int]]:
    """The two prompts that decide a pair, its first answer as A, then as B; none for equal answers, which tie."""
    if pair.first.strip() == pair.second.strip():
        return []

    def query(a: str, b: str, sign: int) -> Query[int]:
        prompt = pair_prompt(pair.record, a, b)
        key = key_of(**identity, pairwise=VERSION, prompt=prompt)
        return Query(key, prompt, lambda text, finished: sign * parse_mark(text, finished))

    return [query(pair.first, pair.second, 1), query(pair.second, pair.first, -1)]


def comparison(queries: Sequence[Query[int]], context: Context) -> Comparison:
    """What the stored replies to both prompts of a pair come to; a pair without prompts is of equal answers, a tie."""
    if not queries:
        return Comparison((0, 0))
    first, second = found = [said(query, context) for query in queries]
    unread = [(query.key, each) for query, each in zip(queries, found, strict=True) if each.verdict is None]
    reasons = [context.why(key) or (each.reasons or ["not asked yet"])[-1] for key, each in unread]
    raw = tuple(text for _, each in unread for text in each.raw)
    asked = all((context.why(key) or each.reasons) and key not in context.failed for key, each in unread)
    return Comparison((first.verdict, second.verdict), "; ".join(dict.fromkeys(reasons)), raw, asked=asked)
