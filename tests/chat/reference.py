"""What transformers alone makes of a conversation: the independent reference, with none of the package's code.

    whole_ids(tokenizer, messages, tools=(), template_args=None, *, markers=()) -> list[int]
    prompt_ids(tokenizer, messages, tools=(), template_args=None, *, markers=()) -> list[int]
    rendered(tokenizer, messages, tools=(), template_args=None, *, prompt=False) -> str
    text_ids(tokenizer, text, *, markers=(), bos=True) -> list[int]
    joined_ids(tokenizer, prompt, answer, *, markers=()) -> list[int]
    special_ids(tokenizer, markers=()) -> frozenset[int]

``markers`` are added tokens that are not special though they open or end turns (``Fixture.markers``). Where no text of
the data looks like a special token or a marker, ids are those of ``apply_chat_template(tokenize=True)``. Else such
texts are tokenized as text, in place: the tokenizer is copied with every special token under a secret name, the
template's own tokens are written by that name, and all else about the tokenizer (its normalizer, prefix space, merges,
tokens that swallow white space) acts as always. So there is one text, tokenized once, without any boundary of our own.

Dates are those of 26 July 2024: ``date_string`` as an argument of the template. ``strftime_now`` cannot be one since
transformers turns callables among the arguments into text (5.23), so its module's clock is replaced meanwhile.
"""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any
from unittest import mock

from tokenizers import Tokenizer
from transformers.utils import chat_template_utils

DATE_STRING = "26 Jul 2024"
_MARK, _NAME = 0xE000, 0xE800  # private use: a look-alike's stand-in, a token's secret name


class _Pinned(datetime):
    @classmethod
    def now(cls, tz: Any = None) -> "_Pinned":
        return cls(2024, 7, 26)


def rendered(
    tokenizer: Any,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] = (),
    template_args: Mapping[str, Any] | None = None,
    *,
    prompt: bool = False,
) -> str:
    """The conversation as text; with ``prompt`` up to the answer, its opening included."""
    return str(_apply(tokenizer, messages, tools, template_args, prompt, tokenize=False))


def whole_ids(
    tokenizer: Any,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] = (),
    template_args: Mapping[str, Any] | None = None,
    *,
    markers: Sequence[str] = (),
) -> list[int]:
    """The ids of a whole conversation, its last answer and what ends it included."""
    return _ids(tokenizer, messages, tools, template_args, markers, prompt=False)


def prompt_ids(
    tokenizer: Any,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] = (),
    template_args: Mapping[str, Any] | None = None,
    *,
    markers: Sequence[str] = (),
) -> list[int]:
    """The ids up to the answer, as generation starts from them."""
    return _ids(tokenizer, messages, tools, template_args, markers, prompt=True)


def text_ids(tokenizer: Any, text: str, *, markers: Sequence[str] = (), bos: bool = True) -> list[int]:
    """The ids of a text without a template, nothing in it a special token; ``bos`` as the tokenizer sets one."""
    return list(_renamed(tokenizer, _names(tokenizer, tuple(markers))).encode(text, add_special_tokens=bos).ids)


def joined_ids(tokenizer: Any, prompt: str, answer: str, *, markers: Sequence[str] = ()) -> list[int]:
    """Prompt and answer tokenized as one text, the end-of-sequence token behind, as Stanford Alpaca's and Tuna's."""
    return [*text_ids(tokenizer, prompt + answer, markers=markers), int(tokenizer.eos_token_id)]


def special_ids(tokenizer: Any, markers: Sequence[str] = ()) -> frozenset[int]:
    """The ids that no text of the data may become."""
    return frozenset(tokenizer.convert_tokens_to_ids(name) for name in _names(tokenizer, tuple(markers)))


def _apply(
    tokenizer: Any,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]],
    template_args: Mapping[str, Any] | None,
    prompt: bool,
    tokenize: bool,
) -> Any:
    with mock.patch.object(chat_template_utils, "datetime", _Pinned):
        return tokenizer.apply_chat_template(
            [dict(message) for message in messages],
            tools=list(tools) or None,
            add_generation_prompt=prompt,
            tokenize=tokenize,
            return_dict=False,
            date_string=DATE_STRING,
            **(template_args or {}),
        )


def _ids(
    tokenizer: Any,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]],
    template_args: Mapping[str, Any] | None,
    markers: Sequence[str],
    prompt: bool,
) -> list[int]:
    names = _names(tokenizer, tuple(markers))
    marked_messages, marked_tools = _swap(list(messages), names, _MARK), _swap(list(tools), names, _MARK)
    if marked_messages == list(messages) and marked_tools == list(tools):
        return list(_apply(tokenizer, messages, tools, template_args, prompt, tokenize=True))
    return _apart(tokenizer, names, rendered(tokenizer, marked_messages, marked_tools, template_args, prompt=prompt))


def _apart(tokenizer: Any, names: tuple[str, ...], marked: str) -> list[int]:
    """The ids of a rendered text whose look-alikes are stand-ins."""
    secret = _swap(marked, names, _NAME)
    text = re.sub(f"[{chr(_MARK)}-{chr(_MARK + len(names) - 1)}]", lambda found: names[ord(found[0]) - _MARK], secret)
    return list(_renamed(tokenizer, names).encode(text, add_special_tokens=False).ids)


@cache
def _names(tokenizer: Any, markers: tuple[str, ...]) -> tuple[str, ...]:
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    return tuple(sorted({*special, *markers}, key=lambda name: (-len(name), name)))  # a longer one wins


def _swap(value: Any, names: tuple[str, ...], base: int) -> Any:
    """The value with every name in its strings replaced by the private character of its number."""
    if isinstance(value, str):
        return _pattern(names).sub(lambda found: chr(base + names.index(found[0])), value)
    if isinstance(value, Mapping):
        return {key: _swap(inner, names, base) for key, inner in value.items()}
    return [_swap(inner, names, base) for inner in value] if isinstance(value, list | tuple) else value


@cache
def _pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, names)))


@cache
def _renamed(tokenizer: Any, names: tuple[str, ...]) -> Tokenizer:
    """A copy of the tokenizer that knows its special tokens and markers by their secret names only."""
    spec = json.loads(tokenizer.backend_tokenizer.to_str())
    secret = {name: chr(_NAME + number) for number, name in enumerate(names)}
    for token in spec["added_tokens"]:
        token["content"] = secret.get(token["content"], token["content"])
    model = spec["model"]
    if isinstance(model["vocab"], dict):
        model["vocab"] = {secret.get(piece, piece): number for piece, number in model["vocab"].items()}
    else:
        model["vocab"] = [[secret.get(piece, piece), score] for piece, score in model["vocab"]]
    if model.get("unk_token"):
        model["unk_token"] = secret.get(model["unk_token"], model["unk_token"])
    return Tokenizer.from_str(json.dumps(spec))
