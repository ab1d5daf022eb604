"""Text in the data that looks like a special token ("</s>", "<|im_end|>") stays text: it ends no turn, opens no role.

Before a template is rendered, each such place in the data is replaced by a mark; the rendered text is tokenized piece
by piece, marks as the ordinary text that they stand for. transformers' ``sanitize_control_tokens`` (5.23) does so too;
it would also spell out the <think> that an answer really has, since any token that a template mentions counts there.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from tuna.data.record import Record

# Noncharacters, which no text for interchange may hold (Unicode, 23.7).
_OPEN, _CLOSE = "\ufdd0", "\ufdd1"
_MARK = re.compile(f"{_OPEN}(\\d+){_CLOSE}")


class Literals:
    """What looks like one of ``special`` in the data, as marks and back.

    >>> literals = Literals(["</s>"])
    >>> literals.pieces(literals.mark("a</s>b"))
    [('a', False), ('</s>', True), ('b', False)]
    """

    def __init__(self, special: Iterable[str]) -> None:
        self.special = sorted({token for token in special if token.strip()}, key=lambda token: (-len(token), token))
        self._find = re.compile("|".join(map(re.escape, self.special)) or "(?!)")
        self._number = {token: k for k, token in enumerate(self.special)}

    def mark(self, text: str) -> str:
        """The text with marks."""
        clean = text.replace(_OPEN, "\ufffd").replace(_CLOSE, "\ufffd") if _OPEN in text or _CLOSE in text else text
        return self._find.sub(lambda found: f"{_OPEN}{self._number[found[0]]}{_CLOSE}", clean)

    def record(self, record: Record) -> Record:
        """The record with marks in everything that a template shows."""
        if not record.messages and not record.tools:
            if not self._find.search(record.instruction) and not self._find.search(record.input):
                return record
            return replace(record, instruction=self.mark(record.instruction), input=self.mark(record.input))
        return replace(
            record,
            messages=tuple({**self._within(m), "role": m["role"]} for m in record.messages),
            tools=tuple(self._within(tool) for tool in record.tools),
        )

    def _within(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.mark(value)
        if isinstance(value, Mapping):
            return {key: self._within(item) for key, item in value.items()}
        return [self._within(item) for item in value] if isinstance(value, list | tuple) else value

    def within(self, text: str) -> bool:
        """Whether the text has marks."""
        return _OPEN in text

    def pieces(self, text: str) -> list[tuple[str, bool]]:
        """The text cut at its marks: (piece, whether it only looks special)."""
        if _OPEN not in text:
            return [(text, False)]
        parts = _MARK.split(text)
        return [(self.special[int(part)], True) if odd % 2 else (part, False) for odd, part in enumerate(parts) if part]

    def plain(self, text: str) -> str:
        """The text without marks, for people."""
        return "".join(piece for piece, _ in self.pieces(text))


def spelled(tokenizer: Any, token: str) -> list[int]:
    """The ids of a special token's name as ordinary text; as single characters where the vocabulary has the name.

    Ids of the token itself are left where even that is impossible, which the caller counts.
    """
    spell, newline = _speller(tokenizer), _speller(tokenizer)("\n")

    def after_a_line(text: str) -> list[int]:
        ids = spell("\n" + text)  # SentencePiece puts a space before what stands first
        return ids[len(newline) :] if ids[: len(newline)] == newline else spell(text)

    own = tokenizer.convert_tokens_to_ids(token)
    whole = after_a_line(token)
    return whole if own not in whole else [i for character in token for i in after_a_line(character)]


def _speller(tokenizer: Any) -> Callable[[str], list[int]]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return lambda text: list(tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])

    def spell(text: str) -> list[int]:
        if backend.normalizer is not None:
            text = backend.normalizer.normalize_str(text)
        parts = (
            [text] if backend.pre_tokenizer is None else [p for p, _ in backend.pre_tokenizer.pre_tokenize_str(text)]
        )
        return [token.id for part in parts for token in backend.model.tokenize(part)]

    return spell
