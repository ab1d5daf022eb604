"""The one place that hides secrets: whatever is printed or written passes here first. See "Keys" in docs/wandb.md.

What has the shape of a key (``sk-...``, ``://user:password@``) is hidden in what is said (the screen, logs, error
texts), and left alone in collected answers, where it may be somebody's example.
"""

import base64
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, TextIO
from urllib.parse import quote, quote_plus

HIDDEN = "<hidden>"
_RUN = 8  # the shortest run of a secret's characters that is hidden
_SURE = 16  # a run of this length is hidden even where it is a word
_SHAPE = re.compile(
    r"\b(?:sk-[\w-]{8,}|hf_\w{16,}|gh[pousr]_\w{16,}|AKIA[0-9A-Z]{16}|xox[abp]-[\w-]{8,})"
    r"|://[^/\s:@]*:[^/\s]+@|(?i:[?&][\w-]*(?:key|token|secret|password)=[^&\s]+)"
    r"|(?i:\b(?:bearer|basic)\s+(?=\S*\d)[\w.~+/-]{8,}=*)"
)
_SECRET_KEY = re.compile(  # row_tokens, token_limit, tokenizer and api_key_env are none
    r"(?!.*_env$).*(api[_-]?key|token(_?\d+)?$|secret|passw(or)?d|authorization|credentials?|(^|[_-])key$)",
    re.IGNORECASE,
)
_DICT_ENTRY = re.compile(r"""(?:^|(?<=[\s{,(\["']))([\w.-]+)\\?["']?\s*:\s*(?=([^\s,}]*))""")
_INNER = re.compile(r"([\w.@\[\]/-]+)=([^\s,}]*)")  # an override within a value, which becomes a command of its own
_NOTHING = ("", "null", "None", "''", '""')
_VARIABLE = re.compile(
    r"(?!.*_(?:FILE|PATH|DIR|ENV|SOCK)$).*(?:API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|SECRET|PASSW(?:OR)?D|PASSPHRASE"
    r"|CREDENTIAL|(?:^|_)TOKEN(?:$|_)|(?:^|_)(?:KEY|PASS)$)",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"[\d.,:eE+-]*")
_ONE_WORD = re.compile(r"[\W_]*(?:[a-z_]+|[A-Z_]+|[A-Z][a-z]+|\d+)?[\W_]*")
_named: set[str] = set()  # variables that a config has named


def refresh(variables: Iterable[str] = ()) -> None:
    """Look at the environment anew; variables: more of those that hold secrets, whatever their names say."""
    _named.update(variables)
    _known.cache_clear()


def learn(config: object) -> None:
    """Take the variables that the keys ``*_env`` of a plain config name for secrets."""
    refresh(_variables(config))


def mask(text: str) -> str:
    """``text`` without the environment's secrets."""
    if not may_hold(text):
        return text
    kept, end = [], 0
    for start, stop in _spans(text):
        if stop - start >= _SURE or not _ONE_WORD.fullmatch(text[start:stop]):
            kept += [text[end:start], HIDDEN]
            end = stop
    return "".join([*kept, text[end:]])


def mask_words(text: str) -> str:
    """``text``, which is to be said, without the environment's secrets and what has the shape of a key.

    >>> mask_words("401: Incorrect API key provided: sk-0123456789, see http://me:pw@host/v1")
    '401: Incorrect API key provided: <hidden>, see http<hidden>host/v1'
    """
    return _SHAPE.sub(HIDDEN, mask(text))


def may_hold(text: str) -> bool:
    """Whether ``text``, perhaps JSON, has to be looked at closely. Fast: 5 microseconds per 1,000 characters."""
    blocks = _known()[1]
    return bool(blocks) and not blocks.isdisjoint(_blocks(text))


def clean(value: object, hide: Callable[[str], str] = mask) -> Any:
    """A JSON value without the environment's secrets (or, by mask_words, what looks like one), in its keys too."""
    if isinstance(value, str):
        return hide(value)
    if isinstance(value, Mapping):
        return {clean(key, hide): clean(item, hide) for key, item in value.items()}
    return [clean(item, hide) for item in value] if isinstance(value, list | tuple) else value


def dumps(value: Any, **options: Any) -> str:
    """``json.dumps`` of a value without the environment's secrets."""
    text = json.dumps(value, **options)
    return json.dumps(clean(json.loads(text)), **options) if may_hold(text) else text


@contextmanager
def masked_output() -> Iterator[None]:
    """What is printed meanwhile passes through mask_words, also the traceback of a fault that ends the process."""
    refresh()
    if isinstance(sys.stderr, _Masked):
        yield
        return
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Masked(before[0]), _Masked(before[1])
    try:
        yield
    except Exception:  # Python has yet to print it
        before = sys.stdout, sys.stderr
        raise
    finally:
        sys.stdout, sys.stderr = before


class _Masked:
    """A stream of text whose writes are masked."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(mask_words(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        self.write("".join(lines))

    def close(self) -> None:
        self._stream.flush()  # a logging handler that closes what it took for a stream of its own

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def secret_in(text: str) -> str | None:
    """The key under which an argument holds a literal secret ("" if it has none), or None if there is no secret.

    >>> secret_in("judge.api_key=abc"), secret_in("judge.api_key_env=OPENAI_API_KEY"), secret_in("x=sk-0123456789")
    ('judge.api_key', None, 'x')
    >>> secret_in("logger.wandb={api_key: abc}"), secret_in("judge.base_url=https://me:pw@host/v1")
    ('logger.wandb', 'judge.base_url')
    """
    key, separator, value = text.lstrip("+~").partition("=")
    if mask_words(text) != text:
        return key if separator and mask_words(key) == key else ""
    if not separator:
        return None
    entries = [entry for entry in _DICT_ENTRY.finditer(value) if is_secret(entry[1])]
    inner = [(inner[1], inner[2].rstrip("'\"")) for inner in _INNER.finditer(value)]
    found = any(is_secret(name) and said not in _NOTHING for name, said in [(key, value), *inner])
    found = found or any(entry[2] not in _NOTHING for entry in entries)
    cut_off = bool(entries) and entries[-1].end() == len(value)
    return key if found or cut_off else None


def is_secret(key: str) -> bool:
    """Whether the last part of a dotted key is a secret's name."""
    return bool(_SECRET_KEY.match(re.split(r"[.\[@/]", key.rstrip("]"))[-1]))


def is_variable(name: str) -> bool:
    """Whether ``name`` can be an environment variable's, and is not a key that was given in its place.

    >>> is_variable("OPENAI_API_KEY"), is_variable("sk-0123456789"), is_variable("f3a9c1e87b604d52a1f8")
    (True, False, False)
    """
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or mask_words(name) != name:
        return False
    mixed = len(name) >= 12 and re.search(r"[a-z].*\d|\d.*[a-z]|\d[A-Z]+\d", name)
    return name in os.environ or not (mixed or any(len(part) >= 20 for part in name.split("_")))


@cache
def _known() -> tuple[frozenset[str], frozenset[int]]:
    """All runs of the environment's secrets, in every form; and blocks, one of which is in every text with a run."""
    values = {value.strip() for name, value in os.environ.items() if name in _named or _VARIABLE.match(name)}
    values = {value for value in values if not (_NUMBER.fullmatch(value) or os.path.exists(value))}
    forms = {form for value in values if len(value) >= _RUN for form in _forms(value)}
    runs = frozenset(form[i : i + _RUN] for form in forms for i in range(len(form) - _RUN + 1))
    return runs, frozenset(block for form in forms for i in range(4) for block in _blocks(form[i:]))


def _blocks(text: str) -> memoryview:
    """Every four characters as a number; those that are not ASCII count as one."""
    data = text.encode("ascii", "replace")
    return memoryview(data)[: len(data) // 4 * 4].cast("I")


def _spans(text: str) -> Iterator[tuple[int, int]]:
    """Where pieces of secrets begin and end, those that overlap taken as one."""
    runs, blocks = _known()
    hits = [4 * number for number, block in enumerate(_blocks(text)) if block in blocks]
    start = stop = 0
    for place in (place for hit in hits for place in range(hit - 3, hit + 1)):
        if text[place : place + _RUN] in runs:
            if place >= stop:
                if stop:
                    yield start, stop
                start = place
            stop = place + _RUN
    if stop:
        yield start, stop


def _forms(secret: str) -> Iterator[str]:
    """As it is, quoted for a URL and for JSON, and as the part of base64 that it alone decides, wherever it begins."""
    data = secret.encode("utf-8", "surrogateescape")
    yield from (secret, quote(data, safe=""), quote_plus(data), json.dumps(secret)[1:-1])
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    for before in range(3):
        whole = base64.b64encode(b"\0" * before + data).decode()
        part = whole[-(-8 * before // 6) : (before + len(data)) * 8 // 6]
        yield from (part, part.translate(str.maketrans("+/", "-_")))


def _variables(config: object) -> Iterator[str]:
    """What the keys ``*_env`` of a plain config name, at every depth."""
    if isinstance(config, Mapping):
        yield from (value for key, value in config.items() if str(key).endswith("_env") and isinstance(value, str))
    for value in config.values() if isinstance(config, Mapping) else config if isinstance(config, list) else ():
        yield from _variables(value)
