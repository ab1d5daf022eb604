"""Conversations that are written as one text, with marks before the turns."""

import re
from collections.abc import Sequence

from tuna.data.record import Message

_HUMAN = re.compile(r"(?:^|\n\n)[ \t]*(Human|Assistant):")
_EXTRA = re.compile(r"\s*<extra_id_\d>[ \t]*(System|User|Assistant)?[ \t]*\n?")
_ROLES = {"Human": "user", "User": "user", "Assistant": "assistant", "System": "system"}


def read_transcript(text: str) -> tuple[Message, ...] | None:
    r"""The turns of a text that begins with ``Human:`` and ``\n\nAssistant:``, or has ``<extra_id_1>`` marks.

    Texts are stripped. None for any other text.

    >>> [m["content"] for m in read_transcript("\n\nHuman: Hi.\n\nAssistant: Hello.\n\nHuman: Bye.\n\nAssistant:")]
    ['Hi.', 'Hello.', 'Bye.', '']
    >>> [m["role"] for m in read_transcript("Hi.\n<extra_id_1>Assistant\nHello.\n<extra_id_1>User\nBye.")]
    ['user', 'assistant', 'user']
    """
    if _EXTRA.search(text):
        return _turns(["User", *_EXTRA.split(text)] if not _EXTRA.match(text) else _EXTRA.split(text)[1:])
    begun = text.strip()
    if not begun.startswith("Human:") or not re.search(r"\n\n[ \t]*Assistant:", begun):
        return None
    return _turns(_HUMAN.split(begun)[1:])


def runs_on(text: str) -> bool:
    """Whether an answer goes on into a turn of the user's that its model made up."""
    return bool(re.search(r"\n\n[ \t]*Human:", text))


def _turns(parts: Sequence[str | None]) -> tuple[Message, ...]:
    """Turns of [name, text, name, text, ...]; a mark without a name is the other speaker's."""
    found: list[Message] = []
    for name, text in zip(parts[::2], parts[1::2], strict=True):
        other = "assistant" if found and found[-1]["role"] == "user" else "user"
        found.append({"role": _ROLES[name] if name else other, "content": (text or "").strip()})
    return tuple(found if found[0]["content"] else found[1:])
