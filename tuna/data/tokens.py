"""Texts to ids, in batches over all cores, through the cache; what looks like a special token in the data stays text.

Text such as "</s>" in the data ends no turn and opens no role: before a template is rendered it is replaced by a mark,
and a copy of the tokenizer, which knows its special tokens by secret names alone, reads the marks as the text that they
stand for. transformers' ``sanitize_control_tokens`` (since 5.23) cuts the text at these places (other ids than the text
has elsewhere), and also spells out the <think> that an answer really has.
"""

import json
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from tokenizers import Tokenizer
from tqdm.auto import tqdm  # type: ignore[import-untyped]

from tuna.data.batch import IntArray
from tuna.data.cache import TokenCache, key_of
from tuna.data.record import Record

log = logging.getLogger(__name__)
CHUNK = 4096  # texts per call: long enough for all cores, short enough to show progress
# Noncharacters, which no text for interchange may hold (Unicode, 23.7): around marks, and around secret names.
_OPEN, _CLOSE, _SECRET_OPEN, _SECRET_CLOSE = "\ufdd0\ufdd1\ufdd2\ufdd3"
_MARK = re.compile(f"{_OPEN}(\\d+){_CLOSE}")
_RESERVED = dict.fromkeys(range(0xFDD0, 0xFDD4), "\ufffd")


def any_of(tokens: Iterable[str]) -> re.Pattern[str]:
    """Finds any of the texts, the longest that fits."""
    return re.compile("|".join(map(re.escape, sorted(tokens, key=lambda token: (-len(token), token)))) or "(?!)")


class Literals:
    """What looks like one of ``special`` in the data, as marks and back."""

    def __init__(self, special: Iterable[str]) -> None:
        self.special = sorted({token for token in special if token.strip()})
        self._find = any_of(self.special)
        self._mark = {token: f"{_OPEN}{k}{_CLOSE}" for k, token in enumerate(self.special)}
        self._secret = {token: f"{_SECRET_OPEN}{k}{_SECRET_CLOSE}" for k, token in enumerate(self.special)}

    def mark(self, text: str) -> str:
        """The text with marks."""
        return self._find.sub(lambda found: self._mark[found[0]], text.translate(_RESERVED))

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
        return self.plain(self._find.sub(lambda found: self._secret[found[0]], text))

    def renamed(self, backend: Tokenizer) -> Tokenizer:
        """A copy of the tokenizer that knows the special tokens by their secret names alone."""

        def name(token: str) -> str:
            return self._secret.get(token, token)

        spec = json.loads(backend.to_str())
        for token in spec["added_tokens"]:
            token["content"] = name(token["content"])
        model = spec["model"]
        if isinstance(model["vocab"], dict):
            model["vocab"] = {name(piece): number for piece, number in model["vocab"].items()}
        else:
            model["vocab"] = [[name(piece), score] for piece, score in model["vocab"]]
        if model.get("unk_token"):
            model["unk_token"] = name(model["unk_token"])
        copy: Tokenizer = Tokenizer.from_str(json.dumps(spec))
        copy.no_truncation()
        copy.no_padding()
        return copy


class Tokens:
    """A tokenizer with a cache. Special tokens in a text are tokens; marks of ``literals`` are spelled out as text.

    start: the ids that the tokenizer puts before a text by itself: its beginning-of-sequence token, or nothing.
    unspelled: texts in which the tokenizer has no other way to write what looks like a special token.
    """

    def __init__(self, tokenizer: Any, literals: Literals, cache: TokenCache | None = None) -> None:
        self.tokenizer = tokenizer
        self.literals = literals
        self.cache = cache if cache is not None else TokenCache(None)
        bare, whole = self._call(["a"])[0], self._call(["a"], special=True)[0]
        places = range(len(whole) - len(bare) + 1)
        self.start = next((whole[:at] for at in places if whole[at : at + len(bare)] == bare), [])
        self.new_texts = 0
        self.unspelled = 0

    def _call(self, texts: list[str], special: bool = False) -> list[list[int]]:
        off = dict.fromkeys(("return_attention_mask", "padding", "truncation", "verbose"), False)
        return [list(ids) for ids in self.tokenizer(texts, add_special_tokens=special, **off)["input_ids"]]

    def prepare(self, texts: Iterable[str]) -> None:
        """Tokenize the texts that the cache lacks."""
        fresh = ((key_of(text), text) for text in texts if not self.literals.within(text))
        missing = {key: text for key, text in fresh if key not in self.cache}
        self.new_texts += len(missing)
        # Texts of like length in one batch keep the cores evenly busy.
        todo = sorted(missing.items(), key=lambda item: len(item[1]))
        if len(todo) > CHUNK:
            log.info("tokenizing %d texts", len(todo))
        with tqdm(total=len(todo), desc="tokenizing", unit="text", disable=None if len(todo) > CHUNK else True) as bar:
            for at in range(0, len(todo), CHUNK):
                part = todo[at : at + CHUNK]
                for (key, _), ids in zip(part, self._call([text for _, text in part]), strict=True):
                    self.cache[key] = np.asarray(ids, np.int32)
                bar.update(len(part))

    def ids(self, text: str) -> IntArray:
        """The ids of one text, remembered."""
        if self.literals.within(text):
            return self.fresh(text)
        key = key_of(text)
        if key not in self.cache:
            self.prepare([text])
        return self.cache[key]

    def fresh(self, text: str) -> IntArray:
        """The ids of one text, not remembered."""
        marked = self.literals.within(text)
        if not marked or self.renamed is None:  # none: a tokenizer without a backend, in Python
            self.unspelled += marked
            return np.asarray(self._call([self.literals.plain(text)])[0], np.int32)
        ids = np.asarray(self.renamed.encode(self.literals.secret(text), add_special_tokens=False).ids, np.int32)
        special = self.tokenizer.convert_tokens_to_ids(self.literals.special)
        self.unspelled += int(np.isin(ids, special).sum() > self.literals.count(text))
        return ids

    @cached_property
    def renamed(self) -> Any:
        """The tokenizer under which special tokens have other names."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        return None if backend is None else self.literals.renamed(backend)
