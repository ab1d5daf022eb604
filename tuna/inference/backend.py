"""Asks of a model, here or served. Answers are stored under an ask's key as they come, and never asked for again."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Protocol

from tuna.console import Progress
from tuna.data.record import Record
from tuna.inference.answers import KEPT, Answer, stored_answer, stored_answers
from tuna.inference.context import Context
from tuna.inference.cost import Price, Prices, Usage
from tuna.inference.store import Journal, key_of


@dataclass(frozen=True, slots=True)
class Ask:
    """One question to a model."""

    key: str  # a hash of all that shapes its answers
    record: Record
    max_tokens: int  # of one answer
    temperature: float | None = 0.0  # 0 is greedy; None leaves it to the server
    step: float = 0.0  # what each new trial adds to the temperature
    n: int = 1  # answers
    seed: int | None = None  # a server is sent none where None
    logprobs: bool = False  # a server is asked for log-probabilities
    cut: bool = True  # a local prompt that does not fit is shortened, else refused
    extra: Mapping[str, Any] = field(default_factory=dict)  # further fields of a request to a server

    def heat(self, trial: int) -> float | None:
        """The temperature of a trial, 0 the first."""
        if self.temperature is None or not trial:
            return self.temperature
        return round(self.temperature + trial * self.step, 6)


class Round(NamedTuple):
    """What is to be drawn next for an ask: in which trial, for which places of its set; no places: nothing."""

    trial: int
    places: tuple[int, ...]


class AnswerSet:
    """The answers of one ask in the making: ``n`` of them, whatever they are."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.kept: dict[int, Answer] = {}

    def missing(self) -> list[tuple[int, int]]:
        """Places still to be drawn for, each with the number of its next trial (0 is the first draw)."""
        return [(place, 0) for place in range(self.n) if place not in self.kept]

    def offer(self, drawn: Mapping[int, Answer]) -> None:
        """Take answers, by place."""
        self.kept |= drawn

    def finish(self) -> list[Answer]:
        """The answers, by place."""
        return [answer for _, answer in sorted(self.kept.items())]


class Backend(Protocol):
    """A model that can be asked: tuna.inference.local.Local, or tuna.inference.served.Served."""

    def shaped_by(self) -> dict[str, Any]:
        """What shapes an answer, besides the ask: its identity in keys of the store."""

    def price_in(self, prices: Prices) -> Price | None:
        """Dollars per million tokens, None where they are not known."""

    def usage(self, requests: int, prompt_tokens: int, answer_tokens: int, context: Context) -> Usage:
        """What that many requests with that many tokens in all will use."""

    def remaining(self, asks: Iterable[Ask], stored: "StoredTexts", context: Context) -> Usage:
        """What asking for what the store lacks will use, roughly."""

    def ask(self, asks: Sequence[Ask], stored: "StoredTexts", context: Context) -> list[list[Answer]]:
        """The answers to each ask, none where it has not got them all; asks only for what the store lacks."""


class Question(Protocol):
    """What a benchmark asks; (task, id) names it."""

    @property
    def id(self) -> str: ...  # noqa: D102
    @property
    def record(self) -> Record: ...  # noqa: D102
    @property
    def task(self) -> str: ...  # noqa: D102


class StoredTexts:
    """One text per ask, as the model wrote it. unit: what the progress line counts. begin: makes a set of n answers."""

    raw: ClassVar[bool] = True  # else the thought is taken out of the text, and log-probabilities are the text's
    part_size: ClassVar[int] = 1  # a request of trial t from place p on is part t * part_size + p of its key

    def __init__(self, journal: Journal, unit: str = "answers", begin: Callable[[int], AnswerSet] = AnswerSet) -> None:
        self.journal, self.unit, self.begin = journal, unit, begin

    def todo(self, ask: Ask) -> Round:
        """What is still to be drawn for an ask."""
        return Round(0, () if ask.key in self.journal else (0,))

    def line(self, answers: Sequence[Answer], drawn: Round | None = None) -> dict[str, Any]:
        """What is stored of the answers to a request, or of a whole set."""
        return {key: value for key in ("text", *KEPT) if (value := getattr(answers[0], key)) is not None}

    def told(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """What else is stored of a server's reply."""
        return {"usage": body.get("usage"), "model": body.get("model")}

    def whole(self, ask: Ask) -> list[Answer]:
        """The answers of an ask that stand in one line; none where there is no line."""
        return self.journal.read(ask.key, stored_answer)[:1]

    def answers(self, ask: Ask) -> list[Answer]:
        """The answers of an ask, none where some are missing."""
        return self.whole(ask)


class StoredSets(StoredTexts):
    """``n`` answers per ask, thoughts apart from texts; ``begin`` makes the set that says which are kept."""

    raw: ClassVar[bool] = False
    part_size: ClassVar[int] = 1 << 16

    def todo(self, ask: Ask) -> Round:
        """What is still to be drawn for an ask: it follows from what the store has."""
        return self._state(ask)[1]

    def line(self, answers: Sequence[Answer], drawn: Round | None = None) -> dict[str, Any]:
        """What is stored of the answers to a request, or of a whole set."""
        about = {} if drawn is None else {"trial": drawn.trial, "places": drawn.places[: len(answers)]}
        return {**about, "choices": [answer.to_dict() for answer in answers]}

    def whole(self, ask: Ask) -> list[Answer]:
        """The answers of an ask that stand in one line; none where there is no line."""
        return next(iter(self.journal.read(ask.key, stored_answers)), [])

    def answers(self, ask: Ask) -> list[Answer]:
        """The answers of an ask, none where some are missing."""
        made, todo = self._state(ask)
        return [] if todo.places else made.finish()

    def _state(self, ask: Ask) -> tuple[AnswerSet, Round]:
        stored: dict[tuple[int, int], Answer] = {}  # by trial and place
        for line in self.journal.read(ask.key, _by_place):
            stored |= line
        made = self.begin(ask.n)
        while missing := made.missing():
            trial = missing[0][1]
            if lacking := tuple(place for place, _ in missing if (trial, place) not in stored):
                return made, Round(trial, lacking)
            made.offer({place: stored[trial, place] for place, _ in missing})
        return made, Round(0, ())


def _by_place(line: Mapping[str, Any]) -> dict[tuple[int, int], Answer]:
    """(trial, place) -> answer, of a line of the store; a teacher's of an older version begins at its part."""
    answers, start, trial = stored_answers(line), int(line["part"]), int(line.get("trial", 0))
    places = line["places"] if "places" in line else range(start, start + len(answers))
    return {(trial, int(place)): answer for place, answer in zip(places, answers, strict=True)}


def store_in_blocks(
    journal: Journal,
    keys: Sequence[str],
    order: Sequence[int],
    size: int,
    unit: str,
    make: Callable[[Sequence[int]], Iterable[Mapping[str, Any] | None]],
    progress: Progress | None = None,
) -> None:
    """Have ``make`` compute what the journal lacks, and store it, in blocks of ``size`` that share batches.

    Blocks are cut from all of ``order`` (places in ``keys``), so one that was interrupted is computed again whole, with
    the same numbers. make: the lines of a block; None where there is none. progress: where ``make`` tells more.
    """
    blocks = [order[at : at + size] for at in range(0, len(order), size)]
    missing = [block for block in blocks if any(keys[i] not in journal for i in block)]
    progress = progress or Progress(unit, len(keys))
    progress.begin(len(keys) - sum(map(len, missing)))
    for block in missing:
        for i, line in zip(block, make(block), strict=True):
            if line is not None and keys[i] not in journal:
                journal.append({"key": keys[i], **line})
        progress.update(len(block))
    progress.close()


def asks_of(
    questions: Iterable[Question], base: Mapping[str, Any], prompt: Callable[[Record], object], *fixed: Any
) -> list[Ask]:
    """The asks of a benchmark's questions. base: what else shapes an answer. fixed: ``Ask``'s, from max_tokens on."""
    keys = ((q, key_of(**base, task=q.task, id=q.id, prompt=prompt(q.record))) for q in questions)
    return [Ask(key, q.record, *fixed) for q, key in keys]


def one_each(backend: Backend, asks: Sequence[Ask], context: Context) -> list[Answer | None]:
    """One text per ask of a benchmark, None where there is none."""
    found = backend.ask(asks, StoredTexts(context.store.journal("answers")), context)
    return [answers[0] if answers else None for answers in found]


def counter(tokenizer: Any) -> Callable[[str], int]:
    """Counts the tokens of a text."""
    return lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])
