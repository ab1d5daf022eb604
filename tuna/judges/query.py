"""What is asked, apart from who is asked: a prompt, the key of its stored replies, and how a reply is read."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from tuna.data.record import was_cut
from tuna.inference.context import Context
from tuna.judges.replies import VerdictError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Query(Generic[T]):
    """One prompt. read: (reply, whether it ended by itself) -> what it says, or VerdictError where that is not sure."""

    key: str
    prompt: str
    read: Callable[[str, bool], T]


@dataclass(slots=True)
class Said(Generic[T]):
    """What the store has of a query: the verdict of the first reply that is one, and the replies that are none."""

    verdict: T | None = None
    raw: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)


def said(query: Query[T], context: Context) -> Said[T]:
    """Read the stored replies to a query anew, with its reader as it is now."""
    found: Said[T] = Said()
    lines = context.store.journal("verdicts").read(
        query.key, lambda line: (str(line["text"]), line.get("refused"), line.get("finish_reason"))
    )
    for text, refused, ended in lines:
        try:
            if refused:
                raise VerdictError(str(refused))
            found.verdict = query.read(text, not was_cut(ended))
            return found
        except VerdictError as error:
            found.raw.append(text)
            found.reasons.append(str(error))
    return found
