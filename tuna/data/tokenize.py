"""Answer lists to groups of token ids. Prompt and responses are tokenized apart and joined as ids, never as text."""

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tqdm.auto import tqdm  # type: ignore[import-untyped]

from tuna.data.batch import Group, IntArray
from tuna.data.cache import TokenCache, key_of
from tuna.data.lists import Answer, AnswerList, better
from tuna.data.templates import PromptParts, Template
from tuna.errors import ConfigError, ModelError

log = logging.getLogger(__name__)
CHUNK = 4096  # texts a call: long enough for all cores, short enough to show progress


@dataclass(slots=True)
class Counts:
    """What tokenizing changed."""

    shortened: int = 0  # prompts
    cut: int = 0  # responses
    new_texts: int = 0  # texts that were not in the cache
    dropped: Counter[str] = field(default_factory=Counter)


class Encoder:
    """Texts to ids, without special tokens, through the cache; knows what goes before a prompt and after a response.

    ending: the ids after a complete response; the end-of-sequence token where nothing is given.

    Raises: ModelError when the tokenizer has no end-of-sequence token.
    """

    def __init__(self, tokenizer: Any, cache: TokenCache | None = None, ending: Sequence[int] = ()) -> None:
        if tokenizer.eos_token_id is None:
            raise ModelError(
                "the tokenizer has no end-of-sequence token; next: set eos_token in its tokenizer_config.json"
            )
        self.tokenizer = tokenizer
        self.cache = cache if cache is not None else TokenCache(None)
        self.eos = int(tokenizer.eos_token_id)
        self.ending = np.asarray(list(ending) or [self.eos], np.int32)
        self.start = self._start()
        self.new_texts = 0

    def _start(self) -> list[int]:
        """The ids that the tokenizer puts before a text by itself: its beginning-of-sequence token, or nothing."""
        bare, whole = self._call(["a"], False)[0], self._call(["a"], True)[0]
        for at in range(len(whole) - len(bare) + 1):
            if whole[at : at + len(bare)] == bare:
                return whole[:at]
        return []

    def _call(self, texts: list[str], special: bool) -> list[list[int]]:
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
        """Tokenize the texts that the cache lacks, in batches over all cores."""
        missing = {key: text for text in texts if (key := key_of(text)) not in self.cache}
        self.new_texts += len(missing)
        # Texts of like length in one batch keep the cores evenly busy.
        todo = sorted(missing.items(), key=lambda item: len(item[1]))
        if len(todo) > CHUNK:
            log.info("tokenizing %d texts", len(todo))
        bar = tqdm(total=len(todo), desc="tokenizing", unit="text", disable=None if len(todo) > CHUNK else True)
        for at in range(0, len(todo), CHUNK):
            part = todo[at : at + CHUNK]
            for (key, _), ids in zip(part, self._call([text for _, text in part], False), strict=True):
                self.cache.put(key, np.asarray(ids, np.int32))
            bar.update(len(part))
        bar.close()

    def ids(self, text: str) -> IntArray:
        """The ids of one text."""
        key = key_of(text)
        if key not in self.cache:
            self.prepare([text])
        return self.cache.get(key)

    def prompt(self, parts: PromptParts) -> IntArray:
        """The prompt's ids, the beginning-of-sequence token once in front where the tokenizer sets one."""
        ids = self.ids(parts.text)
        start = self.start if parts.bos else []
        if not start or ids[: len(start)].tolist() == start:
            return ids
        return np.concatenate([np.asarray(start, np.int32), ids])

    def response(self, answer: Answer) -> IntArray:
        """The response's ids; its ending after it when it was complete, once."""
        ids = self.ids(answer.text)
        if not answer.complete or (len(ids) and ids[-1] == self.eos):
            return ids
        return np.concatenate([ids, self.ending])


def tokenize(
    lists: Sequence[AnswerList], encoder: Encoder, template: Template, max_length: int, *, ranked: bool
) -> tuple[list[tuple[int, Group]], Counts]:
    """Groups for the lists that keep something, each with its list's index.

    A prompt takes at most ``max_length - min(longest response, max_length // 2)`` tokens: a longer one is shortened
    inside the input, then the instruction. A response is cut to what is left, and gets no end-of-sequence token then.

    Raises: ConfigError when the template's own words do not fit.
    """
    counts = Counts()
    before = encoder.new_texts
    parts = [template(item.record) for item in lists]
    encoder.prepare(text for item, p in zip(lists, parts, strict=True) for text in _texts(item, p))
    groups = []
    for index, (item, part) in enumerate(zip(lists, parts, strict=True)):
        group = _group(item, part, encoder, max_length, ranked, counts)
        if group is not None:
            groups.append((index, group))
    counts.new_texts = encoder.new_texts - before
    return groups, counts


def _texts(item: AnswerList, parts: PromptParts) -> list[str]:
    return [parts.text, *(answer.text for answer in item.answers)]


def _group(
    item: AnswerList, parts: PromptParts, encoder: Encoder, max_length: int, ranked: bool, counts: Counts
) -> Group | None:
    responses = [encoder.response(answer) for answer in item.answers]
    prompt = encoder.prompt(parts)
    room = max_length - min(max(map(len, responses)), max_length // 2)
    if len(prompt) > room:
        prompt = shorten(parts, encoder, room)
        counts.shortened += 1
        if len(prompt) >= max_length:
            raise ConfigError(
                f"datamodule.max_length: expected more than the {len(prompt)} tokens of the template alone, "
                f"got {max_length}"
            )
    if not len(prompt):
        counts.dropped["empty prompt"] += 1
        return None
    room = max_length - len(prompt)
    counts.cut += sum(len(ids) > room for ids in responses)
    kept = _distinct([ids[:room] for ids in responses], item.answers, counts)
    ranked_too_few = ranked and sum(a.score == a.score for _, a in kept) < 2
    if not kept or (ranked_too_few and not any(a.target for _, a in kept)):
        counts.dropped["list with fewer than two responses" if ranked else "list without a response"] += 1
        return None
    return Group(
        id=item.record.id,
        prompt=prompt,
        responses=tuple(ids for ids, _ in kept),
        scores=tuple(answer.score for _, answer in kept),
        targets=tuple(answer.target for _, answer in kept),
    )


def _distinct(responses: list[IntArray], answers: tuple[Answer, ...], counts: Counts) -> list[tuple[IntArray, Answer]]:
    """Responses with a token left, each once: cutting can make two the same, and the better score stays."""
    kept: dict[bytes, tuple[IntArray, Answer]] = {}
    for ids, answer in zip(responses, answers, strict=True):
        key = ids.tobytes()
        if not len(ids):
            counts.dropped["nothing left of a response"] += 1
        elif key in kept:
            same = kept[key][1]
            # The original beside the candidate that it equals is no loss; two candidates are.
            if same.score == same.score and answer.score == answer.score:
                counts.dropped["duplicate response after cutting"] += 1
            score, target = better(same.score, answer.score), same.target or answer.target
            kept[key] = (ids, Answer(answer.text, answer.complete, score, target))
        else:
            kept[key] = (ids, answer)
    return list(kept.values())


def shorten(parts: PromptParts, encoder: Encoder, limit: int) -> IntArray:
    """The longest beginning of instruction and input, found by halving, whose prompt has at most ``limit`` tokens.

    The template's own words stay, be they more than that. The outcome is remembered in the encoder's cache.
    """
    key = hashlib.blake2b(f"{limit}\0{parts}".encode(), digest_size=16, person=b"shortened").digest()
    if key in encoder.cache:
        return encoder.cache.get(key)
    measure = _measure(parts, encoder)
    low, high = 0, len(parts.instruction) + len(parts.input)
    best = measure(low)
    while high - low > 1:
        middle = (low + high) // 2
        ids = measure(middle)
        if len(ids) <= limit:
            low, best = middle, ids
        else:
            high = middle
    encoder.cache.put(key, best)
    return best


def _measure(parts: PromptParts, encoder: Encoder) -> Callable[[int], IntArray]:
    """Ids of the prompt with so many characters kept. Outside the cache, which these tries would only fill."""
    trial = Encoder(encoder.tokenizer)

    return lambda characters: trial.prompt(parts.kept(characters))
