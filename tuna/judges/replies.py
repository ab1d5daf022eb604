"""What a judge is asked, and its reply in its own words: without its thoughts, and without what it only quotes (in code
blocks, on lines after ``>``, in quotation marks or backticks).
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Generic, NamedTuple, TypeVar

from tuna.data.record import was_cut
from tuna.inference.answers import Answer, outside_thought, stored_answer
from tuna.inference.context import Context
from tuna.judges.base import NoRuling

_CLOSING = {'"': '"', "'": "'", "\u201c": "\u201d", "\u2018": "\u2019", "\u201e": "\u201c", "\u00ab": "\u00bb"}
_SIGN = re.compile(r"`+|[\"'\u201c\u201d\u201e\u2018\u2019\u00ab\u00bb]")
_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})([^`]*)$")
T = TypeVar("T")
_AROUND = " \t\r*_#."  # what may stand around the one thing on a line


class VerdictError(Exception):
    """Why a reply is no verdict that can be trusted."""


class Place(NamedTuple):
    """A token of a reply that may be a mark: where it begins in the text, and the natural-log probabilities there."""

    at: int
    token: str
    top: Mapping[str, float]


class Reply(NamedTuple):
    """A reply as the store has it. finished: it ended by itself. places: of a server that gives probabilities."""

    text: str
    finished: bool = True
    places: Sequence[Place] = ()


@dataclass(frozen=True, slots=True)
class Query(Generic[T]):
    """One prompt. read: what a reply says; it raises VerdictError where that is not sure."""

    key: str
    prompt: str
    read: Callable[[Reply], T]


@dataclass(slots=True)
class Said(Generic[T]):
    """What the store has of a query: the verdict of the first reply that is one, and the replies that are none."""

    verdict: T | None = None
    raw: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)


def said(query: Query[T], context: Context) -> Said[T]:
    """Read the stored replies to a query anew, with its reader as it is now."""
    found: Said[T] = Said()
    for answer, places in context.store.journal("verdicts").read(query.key, _stored):
        try:
            if answer.refused:
                raise VerdictError(answer.refused)
            found.verdict = query.read(Reply(answer.text, not was_cut(answer.finish_reason), places))
            break
        except VerdictError as error:
            found.raw.append(answer.text)
            found.reasons.append(str(error))
    return found


def verdicts_of(queries: Sequence[Query[T]], context: Context) -> list[T] | NoRuling:
    """The verdict of every query; or why the first that has none has none."""
    verdicts = []
    for query in queries:
        found = said(query, context)
        if found.verdict is None:
            reason = context.why(query.key) or (found.reasons or [""])[-1]
            asked = bool(reason) and query.key not in context.failed
            return NoRuling(reason or "not asked yet", found.raw, asked)
        verdicts.append(found.verdict)
    return verdicts


def _stored(line: Mapping[str, Any]) -> tuple[Answer, list[Place]]:
    places = [Place(int(at), str(token), {**top}) for at, token, top in line.get("places") or ()]
    return stored_answer(line), places


def spoken(text: str, finished: bool) -> str:
    """The reply without its thoughts. Raises VerdictError where it was cut: what comes before is then no verdict."""
    if not finished:
        raise VerdictError("the reply was cut by its token limit, or did not end by itself")
    return outside_thought(text)


def shortened(text: str) -> str:
    """A piece of a reply on one line, for messages."""
    text = " ".join(text.split())
    return text if len(text) <= 60 else text[:57] + "..."


def outside_quotes(text: str, held: Callable[[str], object]) -> str:
    """The reply's own words: without lines after ``>``, and without the quotes in which ``held`` finds something.

    A reply may end in its verdict as a code block, or quote it alone on its last line, as the prompt prints its form.
    These are its own words; a quote within a sentence is not, nor is one with anything after it.

    >>> outside_quotes('Answer A says "[[A]]".\\n"[[B]]"', lambda quote: "[[" in quote)
    'Answer A says .\\n"[[B]]"'
    """
    lines = list(_unfenced(text.rstrip().split("\n"), held))
    end = lines[-1].strip(_AROUND) if lines else ""
    last = [lines.pop()] if _quotes(end) == [(0, len(end))] else []
    paragraphs = ("\n".join(group) for _, group in groupby(lines, key=lambda line: bool(line.strip())))
    return "\n".join([*(_unquoted(paragraph, held) for paragraph in paragraphs), *last])


def _unfenced(lines: list[str], held: Callable[[str], object]) -> Iterator[str]:
    """The lines outside of code blocks and of ``>``; a block's own where it ends the text or holds nothing."""
    block: list[str] = []
    fence = ""
    for number, line in enumerate(lines, start=1):
        found = _FENCE.match(line)
        if fence and found and found[1].startswith(fence) and not found[2].strip():
            if number == len(lines) or not held("\n".join(block)):
                yield from block
            block, fence = [], ""
        elif fence:
            block.append(line)
        elif found:
            fence = found[1]
        elif not line.lstrip().startswith(">"):
            yield line


def _unquoted(paragraph: str, held: Callable[[str], object]) -> str:
    kept, end = [], 0
    for start, stop in _quotes(paragraph):
        if held(paragraph[start:stop]):
            kept.append(paragraph[end:start])
            end = stop
    return "".join([*kept, paragraph[end:]])


def _quotes(paragraph: str) -> list[tuple[int, int]]:
    """Where the outermost quotes begin and end. An apostrophe opens none, nor does a sign that is never closed."""
    signs = [(match.start(), match.end(), match.group()) for match in _SIGN.finditer(paragraph)]
    last = {sign: start for start, end, sign in signs if _closes(sign, paragraph[end : end + 1])}
    found, opened, wanted = [], 0, ""
    for start, end, sign in signs:
        if wanted:
            if sign == wanted and _closes(sign, paragraph[end : end + 1]):
                found.append((opened, end))
                wanted = ""
        elif "`" in sign or (sign in _CLOSING and not paragraph[max(0, start - 1) : start].isalnum()):
            closing = _CLOSING.get(sign, sign)
            if last.get(closing, -1) > start:
                opened, wanted = start, closing
    return found


def _closes(sign: str, after: str) -> bool:
    return "`" in sign or not after.isalnum()
