"""The judge card: ``cfg.judge`` and what it has to beat, measured on lists or pairs with given preferences."""

import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Interval

from tuna.assets import FOLDER
from tuna.config.types import checked
from tuna.data.lists import ranked_list
from tuna.data.load import Source, counted, load_sources
from tuna.data.ranking import count_pairs
from tuna.data.record import Record
from tuna.errors import ConfigError, DataError
from tuna.evaluation.base import Benchmark, EvalContext, Result
from tuna.evaluation.judge import reward_bench
from tuna.evaluation.judge.figures import (
    Card,
    Opinion,
    Reference,
    card,
    consistency,
    of_comparisons,
    of_ruling,
    share_of,
)
from tuna.evaluation.questions import GivenAnswers, Question, spread
from tuna.inference.answers import Answer
from tuna.inference.context import Context
from tuna.inference.cost import Usage, about_tokens
from tuna.inference.store import Journal, Store, key_of
from tuna.judges.base import Case, Judge, NoRuling, Pair
from tuna.judges.scored import Baseline

BASELINES = {by: Baseline(by) for by in ("random", "longest", "shortest", "rouge")}
_EMBEDDED = FOLDER / "rankings/contextual_held_out.jsonl"
FIGURES = (
    "lists", "agreement", "ties", "no_verdict", "spearman", "length_controlled", "agreement_longer_better",
    "agreement_shorter_better", "longer_wins", "longer_wins_reference", "flip_rate", "consistency", "cycles",
    "dollars_per_1000", "seconds_per_1000",
)  # fmt: skip
_SHOWN = ("agreement", "length_controlled", "spearman")  # of the judge, with intervals; the table has all
_MOST = 5  # reasons that are noted
_NUMBER = re.compile(r"\d[\d.,]*")  # by which alone reasons do not differ


@dataclass(frozen=True, slots=True)
class Given:
    """One list: the case that a judge gets, and what the reference says of it."""

    case: Case
    reference: Reference


@checked
@dataclass
class JudgeCard(Benchmark):
    """What cfg.judge is worth: agreement with the preferences of a file, and what of it is length, place or chance."""

    path: str | None = None  # ranked lists or pairs of any format that train.py reads; null: embedded lists
    rank_by: Literal["score", "eq3"] = "score"  # what orders the answers of the file
    beta: Annotated[float, Interval(ge=0, le=5)] = 1.3  # length exponent of rank_by=eq3
    min_gap: float = 0.0  # scores closer than this are ties, which no judge is measured by
    ask: Literal["auto", "lists", "pairs"] = "auto"  # about; auto: pairs where no list has more than two answers
    repeats: Annotated[int, Ge(1)] = 1  # rounds of asking, each with a seed and a store of its own

    name: ClassVar[str] = "judge"
    uses_model = False
    shaped_by: ClassVar[tuple[str, ...]] = ("rank_by", "beta", "min_gap", "ask", "repeats")

    def needs(self) -> tuple[str, ...]:
        """A judge."""
        return ("judge",)

    def title(self, nodes: Mapping[str, Any]) -> str:
        """The judge's name: its kind with its model's or folder's; a baseline's own."""
        judge, identity = nodes["judge"], nodes["judge"].identity()
        if isinstance(judge, Baseline):
            return judge.by
        path, model = getattr(judge, "path", None), identity.get("model")
        who = Path(path).name if isinstance(path, str) else model
        return "-".join(str(part) for part in (identity["judge"], who) if part).replace("/", "-")

    def prepare(self, limit: int | None) -> None:
        """Read the lists."""
        path = self.path or str(_EMBEDDED)
        (loaded,) = load_sources([Source(path, self.rank_by, original="none", key="benchmark.path")])
        self._dropped: Counter[str] = Counter()
        self._records = spread(loaded.records, limit, _subset)
        self._bench, self._read = loaded.format == "reward_bench", loaded.notes
        if self._bench:
            reward_bench.check(self._records)
        found = [self._given(record) for record in self._records]
        self._lists = [given for given in found if given is not None]
        if not self._lists:
            raise DataError(f"{path}: no list has two answers with different scores ({counted(self._dropped)})")
        self._pairs = self.ask == "pairs" or (
            self.ask == "auto" and all(len(given.case.answers) == 2 for given in self._lists)
        )
        records = [given.case.record for given in self._lists]
        self.asked = [Question(record.id, record, _subset(record)) for record in records]
        self.hashes = {"data": loaded.sha256}

    def _given(self, record: Record) -> Given | None:
        rule = {"rank_by": self.rank_by, "beta": self.beta, "min_gap": self.min_gap}
        found = ranked_list(record, self._dropped, **rule)  # type: ignore[arg-type]
        ranked = [answer for answer in found.answers if answer.score == answer.score] if found else []
        if not count_pairs([answer.score for answer in ranked]):
            self._dropped["list without two answers of different scores"] += 1
            return None
        ends = ["stop" if answer.complete else "length" for answer in ranked]
        answers = [
            Answer(a.text, finish_reason=end, reasoning=a.reasoning) for a, end in zip(ranked, ends, strict=True)
        ]
        reference = Reference([answer.score for answer in ranked], [len(answer.text) for answer in ranked])
        return Given(Case(record, answers), reference)

    def check(self, given: GivenAnswers | None, generation: object) -> None:
        """Answers stand in the file itself."""
        if given is not None:
            raise ConfigError("answers: expected none, since a judge is measured on the answers of benchmark.path")

    def estimate(self, context: EvalContext) -> dict[str, Usage]:
        """What the judge would be asked."""
        judge: Judge = context.nodes["judge"]
        if self._pairs:
            pairs = [pair for given in self._lists for pair in _pairs_of(given.case)]
            return {"judge": sum([judge.estimate_pairs(pairs, context.inference)] * self.repeats, Usage())}
        total = Usage()
        for given in self._lists:
            answers = given.case.answers
            tokens = sum(about_tokens(answer.text) for answer in answers) // len(answers)
            total += judge.estimate([given.case.record], len(answers), tokens, context.inference)
        return {"judge": sum([total] * self.repeats, Usage())}

    def measure(self, context: EvalContext) -> Result:
        """Ask the judge and the baselines; a list about which the judge was not asked to the end is missing."""
        judge, name = context.nodes["judge"], self.title(context.nodes)
        rounds = self._rounds(judge, self._lists, context)
        there = [None not in of_list for of_list in zip(*rounds, strict=True)]
        lists = [given for given, here in zip(self._lists, there, strict=True) if here]
        missing = [given.case.record.id for given, here in zip(self._lists, there, strict=True) if not here]
        if not lists:
            return Result({}, "agreement", [], len(self._lists), missing, len(missing))
        opinions = [[o for o, here in zip(each, there, strict=True) if here and o] for each in rounds]
        cards = {name: self._card(judge, lists, opinions, context)}
        benches = {name: self._bench_scores(lists, opinions[0])}
        for by, baseline in BASELINES.items():
            able = [given for given in lists if baseline.can_judge(given.case.record)]
            if able and baseline != judge:
                found = [[o for o in each if o] for each in self._rounds(baseline, able, context)]
                cards[by] = self._card(baseline, able, found, context)
                benches[by] = self._bench_scores(able, found[0])
        own = cards[name]
        scores = {key: own.figures[key] for key in _SHOWN}
        tables = {"judges": _table({who: _row(each) for who, each in cards.items()})}
        if self._bench:
            scores = {"reward_bench": benches[name]["mean"], **scores}
            tables["reward_bench"] = _table(benches)
        asked = [question for question, here in zip(self.asked, there, strict=True) if here]
        return Result(
            scores=scores,
            primary=next(iter(scores)),
            examples=[
                context.example(
                    question, {"agreement": alike}, reference=list(given.reference.scores),
                    values=list(opinion.values), reasons=list(opinion.reasons),
                )
                for question, given, opinion, alike in zip(asked, lists, opinions[0], own.by_list, strict=True)
            ],
            expected=len(self._lists), missing=missing, unsettled=len(missing), tables=tables,
            intervals=own.intervals, notes=self._notes(opinions[0], cards),
        )  # fmt: skip

    def _rounds(self, judge: Judge, lists: Sequence[Given], context: EvalContext) -> list[list[Opinion | None]]:
        """The judge's opinion of each list, in each round of asking."""
        first = context.inference
        clock, key = first.store.journal("seconds"), key_of(**judge.identity())
        with _timed(clock, key):
            rounds = [self._opinions(judge, lists, first)]
        for nth in range(1, self.repeats):
            with Store(first.store.folder / f"repeat-{nth}") as store, _timed(clock, key):
                again = replace(first, store=store, seed=first.seed + nth, aside={}, failed={})
                rounds.append(self._opinions(judge, lists, again))
                first.stopped = first.stopped or again.stopped
                first.failed |= again.failed
        return rounds

    def _opinions(self, judge: Judge, lists: Sequence[Given], context: Context) -> list[Opinion | None]:
        """The judge's opinion of each list, None where the run was stopped before it was asked to the end."""
        cases, counts = [given.case for given in lists], [len(given.case.answers) for given in lists]
        if not self._pairs:
            rulings = zip(judge.judge(cases, context), counts, strict=True)
            return [None if isinstance(r, NoRuling) and not r.asked else of_ruling(r, count) for r, count in rulings]
        verdicts = iter(judge.compare([pair for case in cases for pair in _pairs_of(case)], context))
        found = [of_comparisons({places: next(verdicts) for places in _places(n)}, n) for n in counts]
        return [None if opinion.reasons and context.unfinished else opinion for opinion in found]

    def _card(
        self, judge: Judge, lists: Sequence[Given], rounds: Sequence[Sequence[Opinion]], context: EvalContext
    ) -> Card:
        """The figures of one judge: of its first round, of the others against it, and what all of them took."""
        found = card([given.reference for given in lists], rounds[0], seed=context.seed, cycles=self._pairs)
        again = [consistency(rounds[0], other) for other in rounds[1:]]
        inference, thousand = context.inference, 1000 / (len(lists) * self.repeats)
        spent = 0.0 if isinstance(judge, Baseline) else inference.budget.spent
        known = not inference.budget.requests or judge.price_in(inference.prices) is not None
        seconds = _seconds(inference.store.journal("seconds"), key_of(**judge.identity()))
        found.figures.update(
            consistency=share_of(sum(same for same, _ in again), sum(of for _, of in again)),
            dollars_per_1000=spent * thousand if known else None,
            seconds_per_1000=None if seconds is None else seconds * thousand,
            lists=len(lists),
        )
        return found

    def _bench_scores(self, lists: Sequence[Given], opinions: Sequence[Opinion]) -> dict[str, float]:
        """RewardBench 2's figures; empty for other files. Answers with one text have one value."""
        values = {
            id(given.case.record): {a.text: v for a, v in zip(given.case.answers, opinion.values, strict=True)}
            for given, opinion in zip(lists, opinions, strict=True)
        }
        rows = [
            reward_bench.Row(
                r.id, _subset(r), *([known.get(c.text) for c in r.responses if c.score == s] for s in (1, 0))
            )
            for r in self._records
            if (known := values.get(id(r))) is not None
        ]
        return reward_bench.scores(rows) if self._bench else {}

    def _notes(self, opinions: Sequence[Opinion], cards: Mapping[str, Card]) -> list[str]:
        notes = [*self._read, *(f"{reason}: {count}" for reason, count in sorted(self._dropped.items()) if count)]
        given = (_NUMBER.sub("N", reason) for opinion in opinions for reason in opinion.reasons)
        reasons = Counter(given).most_common()
        notes += [f"no verdict ({'pairs' if self._pairs else 'lists'}): {n}: {reason}" for reason, n in reasons[:_MOST]]
        if rest := sum(count for _, count in reasons[_MOST:]):
            notes.append(f"no verdict, for other reasons (examples.jsonl has all): {rest}")
        if any(each.figures["seconds_per_1000"] is None for each in cards.values()):
            notes.append("seconds: unknown, since a process that was killed could not write down how long it took")
        return notes


def _subset(record: Record) -> str:
    subset = record.extra.get("subset")
    return subset if isinstance(subset, str) else ""


def _places(count: int) -> Iterator[tuple[int, int]]:
    return combinations(range(count), 2)


def _pairs_of(case: Case) -> Iterator[Pair]:
    for j, k in _places(len(case.answers)):
        yield Pair(case.record, case.answers[j].text, case.answers[k].text)


@contextmanager
def _timed(clock: Journal, key: str) -> Iterator[None]:
    """Write down how long the block took, and before that it began, for a process that is killed in it."""
    clock.append({"key": key, "began": True})
    start = time.perf_counter()
    try:
        yield
    finally:
        clock.append({"key": key, "seconds": time.perf_counter() - start})


def _seconds(clock: Journal, key: str) -> float | None:
    """All that was written down; None where a process was killed before it could."""
    found = [line.get("seconds") for line in clock.get(key)]
    known = [seconds for seconds in found if seconds is not None]
    return sum(known) if 2 * len(known) == len(found) else None


def _row(found: Card) -> dict[str, float | None]:
    """The figures in the order of the card, the ends of an interval behind its mean."""
    row: dict[str, float | None] = {}
    for name in FIGURES:
        row[name] = found.figures[name]
        if name in found.intervals:
            interval = found.intervals[name]
            low, high = (interval.low, interval.high) if interval.lists else (None, None)
            row |= {f"{name}_low": low, f"{name}_high": high}
    return row


def _table(columns: Mapping[str, Mapping[str, float | None]]) -> list[dict[str, Any]]:
    """A row per measure, a column per judge."""
    names = dict.fromkeys(name for column in columns.values() for name in column)
    return [{"measure": n, **{who: column.get(n) for who, column in columns.items()}} for n in names]
