"""Texts to ids, in batches over all cores, through the cache."""

import logging
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from tqdm.auto import tqdm  # type: ignore[import-untyped]

from tuna.data.batch import IntArray
from tuna.data.cache import TokenCache, key_of
from tuna.data.literal import Literals, spelled

log = logging.getLogger(__name__)
CHUNK = 4096  # texts per call: long enough for all cores, short enough to show progress


class Tokens:
    """A tokenizer with a cache. Special tokens in a text are tokens; marks of ``literals`` are spelled out as text.

    start: the ids that the tokenizer puts before a text by itself: its beginning-of-sequence token, or nothing.
    unspelled: special tokens that this tokenizer cannot write as text.
    """

    def __init__(self, tokenizer: Any, literals: Literals, cache: TokenCache | None = None) -> None:
        self.tokenizer = tokenizer
        self.literals = literals
        self.cache = cache if cache is not None else TokenCache(None)
        self.start = self._start()
        self.new_texts = 0
        self.unspelled: set[str] = set()
        self._spelled: dict[str, list[int]] = {}

    def _start(self) -> list[int]:
        bare, whole = self._call(["a"], False)[0], self._call(["a"], True)[0]
        for at in range(len(whole) - len(bare) + 1):
            if whole[at : at + len(bare)] == bare:
                return whole[:at]
        return []

    def _call(self, texts: list[str], special: bool = False) -> list[list[int]]:
        found = self.tokenizer(
            texts,
            add_special_tokens=special,
            return_attention_mask=False,
            padding=False,
            truncation=False,
            verbose=False,
        )
        return [list(ids) for ids in found["input_ids"]]

    def prepare(self, texts: Iterable[str]) -> None:
        """Tokenize the texts that the cache lacks."""
        missing = {
            key: text for text in texts if (key := key_of(text)) not in self.cache and not self.literals.within(text)
        }
        self.new_texts += len(missing)
        # Texts of like length in one batch keep the cores evenly busy.
        todo = sorted(missing.items(), key=lambda item: len(item[1]))
        if len(todo) > CHUNK:
            log.info("tokenizing %d texts", len(todo))
        bar = tqdm(total=len(todo), desc="tokenizing", unit="text", disable=None if len(todo) > CHUNK else True)
        for at in range(0, len(todo), CHUNK):
            part = todo[at : at + CHUNK]
            for (key, _), ids in zip(part, self._call([text for _, text in part]), strict=True):
                self.cache.put(key, np.asarray(ids, np.int32))
            bar.update(len(part))
        bar.close()

    def ids(self, text: str) -> IntArray:
        """The ids of one text, remembered."""
        if self.literals.within(text):
            return self.fresh(text)
        key = key_of(text)
        if key not in self.cache:
            self.prepare([text])
        return self.cache.get(key)

    def fresh(self, text: str) -> IntArray:
        """The ids of one text, not remembered."""
        out: list[int] = []
        for n, (piece, literal) in enumerate(self.literals.pieces(text)):
            if literal:
                out += self._spell(piece)
            elif n == 0:
                out += self._call([piece])[0]
            else:
                out += self._later(piece)
        return np.asarray(out, np.int32)

    def _later(self, piece: str) -> Sequence[int]:
        """Ids of a text's later piece: SentencePiece puts a space before what stands first, so a line break does."""
        newline, ids = self._call(["\n", "\n" + piece])
        return ids[len(newline) :] if ids[: len(newline)] == newline else self._call([piece])[0]

    def _spell(self, token: str) -> list[int]:
        if token not in self._spelled:
            self._spelled[token] = spelled(self.tokenizer, token)
            if self.tokenizer.convert_tokens_to_ids(token) in self._spelled[token]:
                self.unspelled.add(token)
        return self._spelled[token]
