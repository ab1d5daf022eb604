"""Several judges as one: each is asked by itself, and counts by how far it can be relied on."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge
from omegaconf import OmegaConf

from tuna.config.schema import build
from tuna.config.types import checked, wrong_value
from tuna.data.record import Record
from tuna.errors import ConfigError
from tuna.inference.context import Context
from tuna.inference.cost import Price, Prices, Usage
from tuna.inference.server import Connection
from tuna.judges.base import Case, Comparison, Judge, NoRuling, Pair, Ruling
from tuna.judges.tournament import Outcome, bradley_terry, connected, levels_of, shares

RIGHT, WRONG = 7.0, 3.0  # comparisons that every member is taken to have made before the first
_NEXT = "next: +judge@judge.members.NAME=openai for each, with any NAME and any judge"
Votes = dict[tuple[int, int], float]  # on two answers: 1 the first is better, -1 the second, 0 neither, or between


@checked
@dataclass
class Panel(Judge):
    """Asks every member about each list or pair, and rules by all of them together.

    A member's positions of a list are taken as comparisons of its answers, and count ``weight`` times in one model of
    Bradley and Terry with ties (tuna.judges.tournament.bradley_terry), whose order is the panel's; of two answers the
    one with the larger weight of verdicts is better, which ``compare`` says of each order. A member without a ruling is
    left out of that list, and counted.

    weights: one per member; null: the log-odds of its reliability (``reliabilities``) over the lists of the run, 0
    where that is below a coin's; fewer than three members cannot be told apart, and count 1 each. repeats: how often
    each is asked; its replies share its weight.
    """

    members: dict[str, Any] | None = None  # judges by name; +judge@judge.members.NAME=openai adds one
    weights: dict[str, Any] | None = None  # {NAME: 2, ...}; null: from how the members agree
    repeats: Annotated[int, Ge(1)] = 1  # of each member, which needs a temperature

    def __post_init__(self) -> None:
        given = self.members or {}
        wrong = [] if given else [f"members: missing; {_NEXT}"]
        self._judges: dict[str, Judge] = {}
        self._voters: dict[str, tuple[str, Judge]] = {}  # label -> member, judge
        for name, node in given.items():
            try:
                self._judges[name] = judge = _built(name, node)
            except ConfigError as error:
                wrong += [f"members.{name}.{line}" for line in str(error).splitlines()]
                continue
            try:
                again = {f"{name}#{k + 1}": (name, judge.repeated(k)) for k in range(1, self.repeats)}
            except ConfigError as error:
                wrong.append(f"repeats: members.{name} would reply the same again, {error}")
            else:
                self._voters |= {name: (name, judge)} | again
        if self.weights is not None:
            wrong += _wrong_weights(self.weights, list(given))
        if wrong:
            raise ConfigError("\n".join(wrong))

    @property
    def asks_again(self) -> bool:  # type: ignore[override]  # each member has its own
        """Whether the next run asks anew where there was no readable verdict."""
        return any(judge.asks_again for judge in self._judges.values())

    def identity(self) -> dict[str, Any]:
        """What shapes its rulings. Raises ConfigError for two members that are one in the store."""
        members = {name: judge.identity() for name, judge in self._judges.items()}
        for (one, asked), (other, same) in combinations(members.items(), 2):
            if asked == same:
                raise ConfigError(
                    f"judge.members.{other}: asks what judge.members.{one} asks, and would get its replies; expected "
                    "another model or other settings. Next: leave one away, and judge.repeats=2 (with a temperature) "
                    "to ask it twice"
                )
        return {"judge": "panel", "members": members, "weights": self.weights, "repeats": self.repeats}

    def can_judge(self, record: Record) -> bool:
        """Whether any member can."""
        return any(judge.can_judge(record) for judge in self._judges.values())

    def price_in(self, prices: Prices) -> Price | None:
        """The price, if all members have the same; else None: what was used is then summed from each reply's cost."""
        found = {judge.price_in(prices) for judge in self._judges.values()}
        return found.pop() if len(found) == 1 else None

    def estimate(self, records: Sequence[Record], n: int, answer_tokens: int, context: Context) -> Usage:
        """What all members will use."""
        return sum((j.estimate(records, n, answer_tokens, context) for _, j in self._voters.values()), Usage())

    def estimate_pairs(self, pairs: Sequence[Pair], context: Context) -> Usage:
        """What all members will use."""
        return sum((judge.estimate_pairs(pairs, context) for _, judge in self._voters.values()), Usage())

    def judge(self, cases: Sequence[Case], context: Context) -> list[Ruling | NoRuling]:
        """Every member's rulings, then one of all for each case."""
        by_voter = {label: judge.judge(cases, context) for label, (_, judge) in self._voters.items()}
        found = [{label: rulings[n] for label, rulings in by_voter.items()} for n in range(len(cases))]
        ruled = [{label: each for label, each in of_it.items() if isinstance(each, Ruling)} for of_it in found]
        votes = [{label: _votes(ruling.levels) for label, ruling in of_it.items()} for of_it in ruled]
        weights = self._weigh(votes, context, "lists")
        return [self._rule(case, of_it, said, weights) for case, of_it, said in zip(cases, found, votes, strict=True)]

    def compare(self, pairs: Sequence[Pair], context: Context) -> list[Comparison]:
        """Every member's comparisons, then one of all for each pair."""
        by_voter = {label: judge.compare(pairs, context) for label, (_, judge) in self._voters.items()}
        found = [{label: comparisons[n] for label, comparisons in by_voter.items()} for n in range(len(pairs))]
        known = [{label: s for label, each in of_it.items() if (s := shares(each))} for of_it in found]
        votes: list[dict[str, Votes]] = [
            {label: {(0, 1): win - loss} for label, (win, _, loss) in of_it.items()} for of_it in known
        ]
        weights = self._weigh(votes, context, "pairs")
        return [_together(of_it, weights) for of_it in found]

    def _rule(
        self, case: Case, found: Mapping[str, Ruling | NoRuling], votes: Mapping[str, Votes], weights: dict[str, float]
    ) -> Ruling | NoRuling:
        lacking = {label: each for label, each in found.items() if isinstance(each, NoRuling)}
        raw = [text for each in lacking.values() for text in each.raw]
        if waiting := [each.reason for each in lacking.values() if not each.asked]:
            return NoRuling(waiting[0], raw, asked=False)
        heard = [(pair, vote, weights[label]) for label, of_it in votes.items() for pair, vote in of_it.items()]
        ranked = sorted({k for pair, _, weight in heard if weight for k in pair})
        place = {k: n for n, k in enumerate(ranked)}
        outcomes = [
            Outcome(place[a], place[b], *(weight * (vote == each) for each in (1, 0, -1)))
            for (a, b), vote, weight in heard
            if weight
        ]
        reasons = {label: each.reason for label, each in lacking.items()}
        if not ranked or not connected(len(ranked), outcomes):
            told = "; ".join(f"{label}: {reason}" for label, reason in reasons.items())
            return NoRuling(
                f"no ruling of the panel's members connects the answers ({told or 'all have weight 0'})", raw
            )
        strengths = bradley_terry(len(ranked), outcomes)
        levels = dict(zip(ranked, levels_of(strengths), strict=True))
        marks = dict(zip(ranked, strengths, strict=True))
        rulings = {label: each for label, each in found.items() if isinstance(each, Ruling)}
        differing, shared = _differing(votes.values())
        notes = {
            "members": {label: {"levels": list(each.levels), **each.notes} for label, each in rulings.items()},
            "left_out": reasons,
            "weights": {label: round(weights[label], 6) for label in rulings},
            "pairs_that_differ": [differing, shared],
        }
        flips, pairs = (sum(getattr(each, key) for each in rulings.values()) for key in ("flips", "pairs"))
        numbers = range(len(case.answers))
        rounded = [None if k not in marks else round(marks[k], 6) for k in numbers]
        return Ruling([levels.get(k) for k in numbers], rounded, None, notes, flips, pairs)

    def _weigh(self, votes: Sequence[Mapping[str, Votes]], context: Context, unit: str) -> dict[str, float]:
        """The weight of each voter; what the members are worth and how they differ is noted for the report."""
        names = list(self._judges)
        rows = [
            self._row(of_it, pair) for of_it in votes for pair in sorted({p for each in of_it.values() for p in each})
        ]
        weights: dict[str, float] = dict.fromkeys(names, 1.0) if self.weights is None else dict(self.weights)
        about = dict.fromkeys(names, "")
        if self.weights is None and len(names) > 2:
            for name, reliability in zip(names, reliabilities(rows), strict=True):
                weights[name] = max(0.0, math.log(reliability / (1 - reliability)))
                about[name] = f"reliability {reliability:.3f}, "
        missing = Counter(label for of_it in votes for label in self._voters if label not in of_it)
        told = [f"{name} {about[name]}weight {weights[name]:.3g}" for name in names]
        told += [f"{label} has no verdict on {count:,}" for label, count in missing.items()]
        counts = [_differing(of_it.values()) for of_it in votes]
        differing, shared = sum(count for count, _ in counts), sum(count for _, count in counts)
        told += [f"they differ on {differing:,} of {shared:,} pairs of answers"] if shared else []
        context.note(f"judge=panel, {len(votes):,} {unit}: {'; '.join(told)}")
        return {label: weights[name] / self.repeats for label, (name, _) in self._voters.items()}

    def _row(self, votes: Mapping[str, Votes], pair: tuple[int, int]) -> list[float]:
        """Each member's vote on a pair, the mean of its repeats; NaN where it has none."""
        heard: dict[str, list[float]] = {name: [] for name in self._judges}
        for label, of_it in votes.items():
            heard[self._voters[label][0]] += [of_it[pair]] if pair in of_it else []
        return [sum(each) / len(each) if each else math.nan for each in heard.values()]


def reliabilities(votes: Sequence[Sequence[float]]) -> list[float]:
    """How often each of M members says of two answers what is right, from the votes alone: [M], between 0 and 1.

    The one-coin model of Dawid and Skene (1979, Applied Statistics 28, 20-28): the better of two answers is unknown,
    the first in half of the pairs, and a member names it with probability p_m, whatever the pair. EM: q = sigmoid(sum
    over m of v_m * log(p_m / (1 - p_m))) is the probability that the first is better; then p_m = (expected right + 7) /
    (votes + 10), as if each member had made ten comparisons before, seven of them right: few votes leave all members
    alike, and keep the majority's side the right one. A vote between -1 and 1 counts as much as it is large; ties say
    nothing. What members get wrong together counts as right.

    votes: [pairs, M], 1 the first answer is better, -1 the second, 0 neither, NaN no vote.

    >>> agreeing, contrary = [[1, 1, 1], [-1, -1, 1]] * 20, [[1, 1, -1], [-1, -1, -1]] * 20
    >>> [round(p, 2) for p in reliabilities(agreeing + contrary)]
    [0.97, 0.97, 0.52]
    """
    v = np.nan_to_num(np.asarray(votes, np.float64))
    size, first = np.abs(v), v > 0
    p = np.full(v.shape[1], RIGHT / (RIGHT + WRONG))
    for _ in range(1000):
        q = 1 / (1 + np.exp(-v @ np.log(p / (1 - p))))[:, None]
        new = ((size * np.where(first, q, 1 - q)).sum(axis=0) + RIGHT) / (size.sum(axis=0) + RIGHT + WRONG)
        change, p = np.abs(new - p).max(), new
        if change < 1e-9:
            break
    return [float(x) for x in p]


def _built(name: str, node: object) -> Judge:
    """A member, from its node of the config."""
    if not isinstance(node, Judge) and not (isinstance(node, Mapping) and "_target_" in node):
        raise ConfigError(f"_target_: expected a judge, got {node!r}; {_NEXT}")
    judge = node if isinstance(node, Judge) else build(OmegaConf.create(dict(node)))
    if not isinstance(judge, Judge):
        raise ConfigError(f"_target_: expected a judge, got {type(judge).__name__}")
    if getattr(judge, "keep_reference", False):
        raise ConfigError("keep_reference: a panel does not rank its members' own answers; expected false, got true")
    if isinstance(judge, Connection):
        vars(judge)["node"] = f"judge.members.{name}"  # as its messages name it
    return judge


def _wrong_weights(weights: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    found = [wrong_value(f"weights.{name}", weight, Annotated[float, Ge(0)]) for name, weight in weights.items()]
    wrong = [text for text in found if text]
    if weights.keys() != set(names):
        wrong.append(f"weights: expected one for each of {', '.join(names)}, got {', '.join(weights) or 'none'}")
    elif not wrong and not any(weights.values()):
        wrong.append("weights: expected one above 0, got only 0")
    return wrong


def _votes(levels: Sequence[float | None]) -> Votes:
    """What positions say of each two of the answers that have one."""
    known = [(k, level) for k, level in enumerate(levels) if level is not None]
    return {(a, b): float((x < y) - (x > y)) for (a, x), (b, y) in combinations(known, 2)}


def _differing(votes: Iterable[Votes]) -> tuple[int, int]:
    """Pairs of answers on which two voters or more have voted, and on how many of them they do not all agree."""
    said: dict[tuple[int, int], list[float]] = {}
    for of_one in votes:
        for pair, vote in of_one.items():
            said.setdefault(pair, []).append(vote)
    shared = [each for each in said.values() if len(each) > 1]
    return sum(len(set(each)) > 1 for each in shared), len(shared)


def _together(found: Mapping[str, Comparison], weights: Mapping[str, float]) -> Comparison:
    """One comparison of all: in each order the sign of the weighted verdicts."""
    lacking = {label: each for label, each in found.items() if shares(each) is None}
    raw = tuple(text for each in lacking.values() for text in each.raw)
    reason = "; ".join(f"{label}: {each.reason}" for label, each in lacking.items())
    heard = [(each, weights[label]) for label, each in found.items() if label not in lacking and weights[label]]
    asked = all(each.asked for each in found.values())
    if not heard or not asked:
        return Comparison((None, None), reason or "the panel's members have weight 0", raw, asked=asked)
    sums = [sum(weight * (each.verdicts[k] or 0) for each, weight in heard) for k in (0, 1)]
    first, second = ((x > 1e-9) - (x < -1e-9) for x in sums)
    preferences = [(each.preference, weight) for each, weight in heard if each.preference is not None]
    preference = None
    if len(preferences) == len(heard):
        preference = sum(p * weight for p, weight in preferences) / sum(weight for _, weight in preferences)
    return Comparison((first, second), reason, raw, preference=preference)
