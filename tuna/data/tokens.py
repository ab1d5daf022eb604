"""Texts to ids, in batches over all cores, through the cache."""

import logging
from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np
from tqdm.auto import tqdm  # type: ignore[import-untyped]

from tuna.data.batch import IntArray
from tuna.data.cache import TokenCache, key_of
from tuna.data.literal import Literals

log = logging.getLogger(__name__)
CHUNK = 4096  # texts per call: long enough for all cores, short enough to show progress


class Tokens:
    """A tokenizer with a cache. Special tokens in a text are tokens; marks of ``literals`` are spelled out as text.

    start: the ids that the tokenizer puts before a text by itself: its beginning-of-sequence token, or nothing.
    unspelled: texts in which the tokenizer has no other way to write what looks like a special token.
    """

    def __init__(self, tokenizer: Any, literals: Literals, cache: TokenCache | None = None) -> None:
        self.tokenizer = tokenizer
        self.literals = literals
        self.cache = cache if cache is not None else TokenCache(None)
        self.start = self._start()
        self.new_texts = 0
        self.unspelled = 0

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
        if not self.literals.within(text):
            return np.asarray(self._call([text])[0], np.int32)
        plain = self.literals.plain(text)
        if self.renamed is None:  # a tokenizer without a backend, in Python
            self.unspelled += 1
            return np.asarray(self._call([plain])[0], np.int32)
        ids = np.asarray(self.renamed.encode(self.literals.secret(text), add_special_tokens=False).ids, np.int32)
        special = self.tokenizer.convert_tokens_to_ids(self.literals.special)
        self.unspelled += int(np.isin(ids, special).sum() > self.literals.count(text))
        return ids

    @cached_property
    def renamed(self) -> Any:
        """The tokenizer under which special tokens have other names."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        return None if backend is None else self.literals.renamed(backend)
