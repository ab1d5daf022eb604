"""Which of a reply's token log-probabilities are those of its text: servers give them for all that was generated."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

NOT_THE_TEXTS = "log-probabilities are not those of the text"
NO_NUMBER = "a token's log-probability is no number (null, infinite, above 0, or -9999 and less)"

_FLOOR = -9999.0  # vLLM's and OpenAI's
_ROUNDING = 1e-3  # above 0 that a sum in half precision may come out
_ENDING = re.compile(rb"\s*|<[^<>\s]+>|\[[A-Z_/]+\]")  # an ending token: special, or decoded to nothing
_ESCAPED = re.compile(r"bytes:((?:\\x[0-9a-f]{2})+)")  # OpenAI's completions: part of a character


def text_logprobs(given: Any, text: str, *, thought: bool) -> tuple[list[float], str | None]:
    """The log-probabilities of the tokens that spell ``text`` and of the ending token after them; else none, and why.

    White space is not compared, since some servers decode tokens one by one and lose it; nor are characters of which
    the tokens hold parts. Where tokens come before the text (a thought, which ``thought`` says was there), they do not
    count. A reply whose log-probabilities are missing or come without tokens has no reason; the latter are taken as
    they are unless there was a thought. One token without a number (null, infinite, above 0, -9999 and less): none,
    since their sum is not known.

    >>> tokens = [("Hm", -2.0), ("</think>", -0.1), ("An", -0.5), (" oak.", -0.25), ("<|im_end|>", -0.125)]
    >>> given = {"content": [{"token": token, "logprob": value} for token, value in tokens]}
    >>> text_logprobs(given, "An oak.", thought=True)
    ([-0.5, -0.25, -0.125], None)
    >>> text_logprobs(given, "A birch.", thought=True)
    ([], 'log-probabilities are not those of the text')
    """
    pieces, values = _read(given)
    if not values or not text.strip():
        return [], None
    if pieces is not None:
        start = _start(pieces, text)
        if start is None:
            return [], NOT_THE_TEXTS
        values = values[start:]
    elif thought:
        return [], NOT_THE_TEXTS
    found = [float(value) for value in values if _is_logprob(value)]
    if len(found) == len(values):
        return found, None
    return [], None if all(value is None for value in values) else NO_NUMBER


def _is_logprob(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and _FLOOR < value <= _ROUNDING


def _read(given: Any) -> tuple[list[bytes] | None, list[Any]]:
    """Tokens as bytes (None where the server names none) and log-probabilities of a chat or a completions reply."""
    if not isinstance(given, Mapping):
        return None, []
    if isinstance(content := given.get("content"), list):
        items = [item if isinstance(item, Mapping) else {} for item in content]
        named = [_bytes(item.get("token"), item.get("bytes")) for item in items]
        values = [item.get("logprob") for item in items]
    else:
        tokens, listed = given.get("tokens"), given.get("token_logprobs")
        values = listed if isinstance(listed, list) else []
        named = [_bytes(token) for token in tokens] if isinstance(tokens, list) else []
    pieces = [piece for piece in named if piece is not None]
    return (pieces if len(pieces) == len(values) else None), values


def _bytes(token: Any, given: Any = None) -> bytes | None:
    if isinstance(given, list) and all(isinstance(b, int) and 0 <= b < 256 for b in given):
        return bytes(given)
    if not isinstance(token, str):
        return None
    escaped = _ESCAPED.fullmatch(token)
    return bytes.fromhex(escaped[1].replace("\\x", "")) if escaped else token.encode("utf-8", "replace")


def _start(pieces: Sequence[bytes], text: str) -> int | None:
    """The first of the tokens that, up to the end or the ending token, spell the text; None where none do."""
    target = _squeezed(text)
    ends = [len(pieces), *([len(pieces) - 1] if _ENDING.fullmatch(pieces[-1]) else [])]
    if any(_spell(b"".join(pieces[:end]), target) for end in ends):
        return 0
    return next((start for end in ends if (start := _last_start(pieces[:end], target)) is not None), None)


def _last_start(pieces: Sequence[bytes], target: str) -> int | None:
    found, tail = None, b""
    for start in reversed(range(len(pieces))):
        tail = pieces[start] + tail
        spelled = bool(pieces[start].strip()) and _spell(tail, target)
        if spelled:
            found = start  # the token before may hold the first part of a character
        elif found is not None or len(_squeezed(tail.decode("utf-8", "replace"))) > 4 * len(target) + 4:
            break
    return found


def _spell(data: bytes, target: str) -> bool:
    told = _squeezed(data.decode("utf-8", "replace"))
    if "\ufffd" not in told:
        return told == target
    known = map(re.escape, re.split("\ufffd+", told))
    return re.fullmatch("[^\x00-\x7f]*".join(known), target) is not None


def _squeezed(text: str) -> str:
    return "".join(text.split())
