"""Answer lists to groups of token ids that fit: prompts shortened, responses cut, useless ones dropped and counted."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat

import numpy as np

from tuna.data.batch import BoolArray, Group, IntArray
from tuna.data.encode import Encoder
from tuna.data.encoded import Encoded, Written
from tuna.data.fields import FieldError
from tuna.data.lists import Answer, AnswerList, better
from tuna.data.load import problem_text
from tuna.data.record import Record
from tuna.data.shortening import size
from tuna.errors import ConfigError, DataError


@dataclass(slots=True)
class Counts:
    """What tokenizing changed."""

    shortened: int = 0  # prompts
    cut: int = 0  # responses
    new_texts: int = 0  # texts that were not in the cache
    dropped: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)  # rows that the template cannot show, as file:line: field

    def refuse(self, item: AnswerList, error: FieldError) -> None:
        """Count a row that cannot be shown."""
        self.problems.append(f"{item.record.where or item.record.id}: {error}")
        self.dropped[f"bad row: {error.reason}"] += 1

    def told(self) -> list[str]:
        """The notes as lines."""
        return [f"{text}: {count}" if count > 1 else text for text, count in sorted(self.notes.items())]


def tokenize(
    lists: Sequence[AnswerList], encoder: Encoder, max_length: int, *, ranked: bool, turns: bool = False
) -> tuple[list[tuple[int, Group]], Counts]:
    """Groups for the lists that keep something, each with its list's index.

    A prompt takes at most ``max_length - min(longest response, max_length // 2)`` tokens: a longer one is shortened,
    see tuna.data.shortening.kept. A response is cut to what is left, and has no ending then. turns: every assistant
    turn of a conversation is a target, not the answer to the last one alone. A row that the template cannot show goes
    to ``problems``.

    Raises: ConfigError when the template's own words do not fit.
    """
    counts = Counts()
    before = encoder.tokens.new_texts
    written: list[tuple[int, Written]] = []
    for index, item in enumerate(lists):
        try:
            written.append((index, encoder.write(item.record, item.answers)))
        except FieldError as error:
            counts.refuse(item, error)
    encoder.prepare(each for _, each in written)
    groups = []
    for index, each in written:
        try:
            group = _group(lists[index], each, encoder, max_length, ranked, turns, counts)
        except FieldError as error:
            counts.refuse(lists[index], error)
            continue
        if group is not None:
            groups.append((index, group))
    counts.new_texts = encoder.tokens.new_texts - before
    counts.notes += encoder.notes
    encoder.notes.clear()
    if encoder.tokens.unspelled:
        counts.notes["texts that this tokenizer can write with a special token only"] = encoder.tokens.unspelled
    return groups, counts


def _group(
    item: AnswerList, written: Written, encoder: Encoder, max_length: int, ranked: bool, turns: bool, counts: Counts
) -> Group | None:
    def encode(written: Written) -> Encoded:
        if turns:
            return encoder.encode_turns(written.record, written.answers[0])
        return encoder.encode(written)

    encoded = encode(written)
    if turns:
        item, encoded = _last_turns(item, encoded, encoder, max_length, counts)
    room = max_length - min(max(map(len, encoded.responses)), max_length // 2)
    if len(encoded.prompt) > room:
        short = shorten(item.record, encoder, room)
        encoded = encode(encoder.write(short, item.answers))
        counts.shortened += 1
        if len(encoded.prompt) >= max_length:
            raise ConfigError(
                f"datamodule.max_length: expected more than the {len(encoded.prompt)} tokens of the template alone, "
                f"got {max_length}"
            )
    if not len(encoded.prompt):
        counts.dropped["empty prompt"] += 1
        return None
    room = max_length - len(encoded.prompt)
    counts.cut += sum(len(ids) > room for ids in encoded.responses)
    kept = _distinct(encoded, room, item.answers, counts)
    ranked_too_few = ranked and sum(a.score == a.score for _, _, a in kept) < 2
    if not kept or (ranked_too_few and not any(a.target for _, _, a in kept)):
        counts.dropped["list with fewer than two responses" if ranked else "list without a response"] += 1
        return None
    return Group(
        id=item.record.id,
        prompt=encoded.prompt,
        responses=tuple(ids for ids, _, _ in kept),
        scores=tuple(answer.score for _, _, answer in kept),
        targets=tuple(answer.target for _, _, answer in kept),
        scored=tuple(mask for _, mask, _ in kept),
    )


def _last_turns(
    item: AnswerList, encoded: Encoded, encoder: Encoder, max_length: int, counts: Counts
) -> tuple[AnswerList, Encoded]:
    """A conversation whose oldest exchanges are left out until all turns fit, so that the newest are trained on."""
    record = item.record
    while len(encoded.prompt) + len(encoded.responses[0]) > max_length:
        fewer = encoder.kept(record, size(record) - 1)
        if len(fewer.messages) == len(record.messages):
            break  # one exchange is left, which is cut as any other
        counts.shortened += record is item.record
        record, encoded = fewer, encoder.encode_turns(fewer, item.answers[0])
    return replace(item, record=record), encoded


Kept = tuple[IntArray, BoolArray, Answer]


def _distinct(encoded: Encoded, room: int, answers: tuple[Answer, ...], counts: Counts) -> list[Kept]:
    """Responses with a token left, each once: cutting can make two the same, and the better score stays."""
    kept: dict[bytes, Kept] = {}
    for whole, scored, answer in zip(encoded.responses, encoded.scored, answers, strict=True):
        ids, mask = whole[:room], scored[:room]
        key = ids.tobytes()
        if not mask.any():
            counts.dropped["nothing left of a response"] += 1
        elif key in kept:
            same = kept[key][2]
            # The original beside the candidate that it equals is no loss; two candidates are.
            if same.score == same.score and answer.score == answer.score:
                counts.dropped["duplicate response after cutting"] += 1
            score, target = better(same.score, answer.score), same.target or answer.target
            kept[key] = (ids, mask, replace(answer, score=score, target=target))
        else:
            kept[key] = (ids, mask, answer)
    return list(kept.values())


def shorten(record: Record, encoder: Encoder, limit: int) -> Record:
    """The record with the longest beginning of its question whose prompt has at most ``limit`` tokens.

    The outcome is remembered in the encoder's cache.
    """
    cache = encoder.tokens.cache
    asked = json.dumps([limit, record.template, record.question], sort_keys=True)
    key = hashlib.blake2b(f"{encoder.identity}\0{asked}".encode(), digest_size=16, person=b"shortened").digest()
    if key not in cache:
        cache.put(key, np.asarray([encoder.shortened(record, limit)], np.int32))
    return encoder.kept(record, int(cache.get(key)[0]))


def check_shown(encoder: Encoder, records: Iterable[Record], answers: Iterable[Sequence[Answer]] | None = None) -> None:
    """Render every prompt, with its answers where they are given, before weights load.

    Raises: DataError that lists each row that the template cannot show.
    """
    problems = []
    for record, given in zip(records, repeat(()) if answers is None else answers, strict=False):
        try:
            encoder.write(record, given)
        except FieldError as error:
            problems.append(f"{record.where or record.id}: {error}")
    encoder.notes.clear()
    if problems:
        raise DataError(problem_text(problems))
