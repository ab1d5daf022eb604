"""Answer lists to groups of token ids that fit: prompts shortened, responses cut, unusable ones dropped and counted."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat

import numpy as np

from tuna.data.batch import BoolArray, Group, IntArray
from tuna.data.encode import Encoder, Written
from tuna.data.fields import FieldError
from tuna.data.lists import Answer, AnswerList, better
from tuna.data.load import problem_text
from tuna.data.record import Record
from tuna.data.templates import size
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

    def __iadd__(self, other: "Counts") -> "Counts":
        """Add what was counted of other lists."""
        for name in ("shortened", "cut", "new_texts", "dropped", "notes", "problems"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self

    def told(self) -> list[str]:
        """The notes as lines."""
        return [f"{text}: {count}" if count > 1 else text for text, count in sorted(self.notes.items())]


def tokenize(
    lists: Sequence[AnswerList], encoder: Encoder, max_length: int, *, ranked: bool, turns: bool = False
) -> tuple[list[tuple[int, Group]], Counts]:
    """Groups for the lists that keep something, each with its list's index.

    A prompt takes at most ``max_length - min(longest response, max_length // 2)`` tokens: a longer one is shortened,
    see tuna.data.templates.kept. A response is cut to what is left, and has no ending then. turns: every assistant
    turn of a conversation is a target. A row that the template cannot show goes to ``problems``.

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
    encoder.tokens.prepare(text for _, each in written for text in each.texts)
    groups = []
    for index, each in written:
        try:
            if (group := _group(lists[index], each, encoder, max_length, ranked, turns, counts)) is not None:
                groups.append((index, group))
        except FieldError as error:
            counts.refuse(lists[index], error)
    counts.new_texts = encoder.tokens.new_texts - before
    counts.notes += encoder.notes
    encoder.notes.clear()
    if encoder.tokens.unspelled:
        counts.notes["texts that this tokenizer can write with a special token only"] = encoder.tokens.unspelled
        encoder.tokens.unspelled = 0
    return groups, counts


def _group(
    item: AnswerList, written: Written, encoder: Encoder, max_length: int, ranked: bool, turns: bool, counts: Counts
) -> Group | None:
    record, group = item.record, encoder.encode(written, turns)
    while turns and len(group.prompt) + len(group.responses[0]) > max_length:
        # The oldest exchanges are left out until all turns fit, so that the newest are trained on.
        fewer = encoder.kept(record, size(record) - 1)
        if len(fewer.messages) == len(record.messages):
            break  # one exchange is left, which is cut as any other
        counts.shortened += record is item.record
        record, group = fewer, encoder.encode(encoder.write(fewer, item.answers), turns)
    room = max_length - min(max(map(len, group.responses)), max_length // 2)
    if len(group.prompt) > room:
        group = encoder.encode(encoder.write(shorten(record, encoder, room), item.answers), turns)
        counts.shortened += 1
        if len(group.prompt) >= max_length:
            raise ConfigError(
                "datamodule.max_length, in evaluate.py benchmark.max_length: expected more than the "
                f"{len(group.prompt)} tokens of the template alone, got {max_length}"
            )
    if not len(group.prompt):
        counts.dropped["empty prompt"] += 1
        return None
    group = _cut(group, max_length - len(group.prompt), counts)
    too_few = ranked and sum(score == score for score in group.scores) < 2
    if not group.responses or (too_few and not any(group.targets)):
        counts.dropped["list with fewer than two responses" if ranked else "list without a response"] += 1
        return None
    return group


def _cut(group: Group, room: int, counts: Counts) -> Group:
    """Responses of at most ``room`` tokens, each once: cutting can make two the same, and the better score stays."""
    kept: dict[bytes, tuple[IntArray, BoolArray, float, bool]] = {}
    for whole, scored, score, target in zip(group.responses, group.scored, group.scores, group.targets, strict=True):
        ids, mask = whole[:room], scored[:room]
        counts.cut += len(whole) > room
        if not mask.any():
            counts.dropped["nothing left of a response"] += 1
            continue
        _, _, same, was_target = kept.get(ids.tobytes(), (ids, mask, math.nan, False))
        # The original beside the candidate that it equals is no loss; two candidates are.
        if same == same and score == score:
            counts.dropped["duplicate response after cutting"] += 1
        kept[ids.tobytes()] = ids, mask, better(same, score), was_target or target
    responses, masks, scores, targets = zip(*kept.values(), strict=True) if kept else ((), (), (), ())
    return replace(group, responses=responses, scored=masks, scores=scores, targets=targets)


def shorten(record: Record, encoder: Encoder, limit: int) -> Record:
    """The record with the longest beginning of its question whose prompt has at most ``limit`` tokens; it is cached."""
    cache = encoder.tokens.cache
    asked = json.dumps([limit, record.template, record.question], sort_keys=True)
    key = hashlib.blake2b(f"{encoder.identity}\0{asked}".encode(), digest_size=16, person=b"shortened").digest()
    if key not in cache:
        cache[key] = np.asarray([encoder.shortened(record, limit)], np.int32)
    return encoder.kept(record, int(cache[key][0]))


def check_shown(encoder: Encoder, records: Iterable[Record], answers: Iterable[Sequence[Answer]] | None = None) -> None:
    """Render every prompt, with any answers, before weights load. Raises: DataError that lists what cannot be shown."""
    problems = []
    for record, given in zip(records, repeat(()) if answers is None else answers, strict=False):
        try:
            encoder.write(record, given)
        except FieldError as error:
            problems.append(f"{record.where or record.id}: {error}")
    encoder.notes.clear()
    if problems:
        raise DataError(problem_text(problems))
