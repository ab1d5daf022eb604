"""Text in the data that looks like a special token ("</s>", "<|im_end|>") stays text: it ends no turn, opens no role.

Before a template is rendered, each such place in the data is replaced by a mark. A rendered text with marks is
tokenized by a copy of the tokenizer that knows its special tokens by secret names alone: the template's own are written
so, the marks become again the text that they stand for, and all else acts as always. transformers has
``sanitize_control_tokens`` since 5.23, which cuts the text at these places (other ids than the text has elsewhere), and
also spells out the <think> that an answer really has, since any token that a template mentions counts there.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from tokenizers import Tokenizer

from tuna.data.record import Record

# Noncharacters, which no text for interchange may hold (Unicode, 23.7).
_OPEN, _CLOSE = "\ufdd0", "\ufdd1"
_MARK = re.compile(f"{_OPEN}(\\d+){_CLOSE}")
_RESERVED = str.maketrans(dict.fromkeys("\ufdd0\ufdd1\ufdd2\ufdd3", "\ufffd"))


class Literals:
    """What looks like one of ``special`` in the data, as marks and back.

    >>> literals = Literals(["</s>"])
    >>> literals.within(literals.mark("a</s>b")), literals.plain(literals.mark("a</s>b"))
    (True, 'a</s>b')
    """

    def __init__(self, special: Iterable[str]) -> None:
        self.special = sorted({token for token in special if token.strip()}, key=lambda token: (-len(token), token))
        self._find = re.compile("|".join(map(re.escape, self.special)) or "(?!)")
        self._number = {token: k for k, token in enumerate(self.special)}

    def mark(self, text: str) -> str:
        """The text with marks."""
        return self._find.sub(lambda found: f"{_OPEN}{self._number[found[0]]}{_CLOSE}", text.translate(_RESERVED))

    def record(self, record: Record) -> Record:
        """The record with marks in everything that a template shows."""
        if not record.messages and not record.tools:
            return replace(record, instruction=self.mark(record.instruction), input=self.mark(record.input))
        return replace(
            record,
            messages=tuple({**self._inside(m), "role": m["role"]} for m in record.messages),
            tools=tuple(self._inside(tool) for tool in record.tools),
        )

    def _inside(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.mark(value)
        if isinstance(value, Mapping):
            return {key: self._inside(item) for key, item in value.items()}
        return [self._inside(item) for item in value] if isinstance(value, list | tuple) else value

    def within(self, text: str) -> bool:
        """Whether the text has marks."""
        return _OPEN in text

    def count(self, text: str) -> int:
        """How many special tokens the text has, marks aside."""
        return len(self._find.findall(text))

    def plain(self, text: str) -> str:
        """The text with what the marks stand for."""
        return _MARK.sub(lambda found: self.special[int(found[1])], text)

    def secret(self, text: str) -> str:
        """The text as a ``renamed`` tokenizer takes it: special tokens by their secret names, marks as text."""
        return self.plain(self._find.sub(lambda found: secret_name(self._number[found[0]]), text))

    def renamed(self, backend: Tokenizer) -> Tokenizer:
        """A copy of the tokenizer that knows the special tokens by their secret names alone."""
        spec = json.loads(backend.to_str())
        names = {token: secret_name(k) for token, k in self._number.items()}
        for token in spec["added_tokens"]:
            token["content"] = names.get(token["content"], token["content"])
        model = spec["model"]
        if isinstance(model["vocab"], dict):
            model["vocab"] = {names.get(piece, piece): number for piece, number in model["vocab"].items()}
        else:
            model["vocab"] = [[names.get(piece, piece), score] for piece, score in model["vocab"]]
        if model.get("unk_token"):
            model["unk_token"] = names.get(model["unk_token"], model["unk_token"])
        copy: Tokenizer = Tokenizer.from_str(json.dumps(spec))
        copy.no_truncation()
        copy.no_padding()
        return copy


def secret_name(number: int) -> str:
    """What no data can hold; see Literals.mark."""
    return f"\ufdd2{number}\ufdd3"
