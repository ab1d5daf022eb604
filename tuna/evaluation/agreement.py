"""Ranking agreement: does a model's own mean log-probability order ranked lists as their ranker did?"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from scipy.stats import kendalltau

from tuna.config.scale import ASSETS
from tuna.data.baselines import baselines
from tuna.data.lists import AnswerList, ranked_list
from tuna.data.load import Source, load_sources
from tuna.data.ranking import beta_problem, count_pairs, pair_accuracy
from tuna.errors import ConfigError, DataError
from tuna.evaluation.base import Benchmark, Result, spread
from tuna.evaluation.desk import Desk, check_likelihoods
from tuna.evaluation.given import GivenAnswers
from tuna.evaluation.likelihood import Scored, check_left, response_values
from tuna.judges.prompt import shown
from tuna.stats import bootstrap_interval

EMBEDDED_FILE = ASSETS / "rankings" / "contextual_held_out.jsonl"


@dataclass
class Agreement(Benchmark):
    """Scores the responses of ranked lists by v, the mean log-probability a token, and compares orders.

    path: ranked lists, any format that train.py reads; null: the embedded held-out lists. rank_by: score, or eq3 with
    beta. min_gap: scores closer than this are ties. max_length: tokens of prompt plus response at most. row_tokens: of
    a packed row.

    Raises:
        ConfigError: values out of range.
    """

    path: str | None = None
    rank_by: Literal["score", "eq3"] = "score"
    beta: float = 1.3
    min_gap: float = 0.0
    max_length: int = 1024
    row_tokens: int = 2048

    name: ClassVar[str] = "agreement"

    def __post_init__(self) -> None:
        if self.max_length < 2 or self.row_tokens < 2:
            raise ConfigError("max_length, row_tokens: expected 2 or more")
        if problem := beta_problem(self.beta):
            raise ConfigError(problem)

    def prepare(self, limit: int | None) -> None:
        """Read the lists."""
        source = Source(self.path or str(EMBEDDED_FILE), self.rank_by, original="none", key="benchmark.path")
        loaded = load_sources([source])[0]
        self._dropped: Counter[str] = Counter()
        records = spread(loaded.records, [""] * len(loaded.records), limit)
        found = (
            ranked_list(record, self._dropped, rank_by=self.rank_by, beta=self.beta, min_gap=self.min_gap)
            for record in records
        )
        self._lists = [_candidates(item) for item in found if item is not None]
        check_left(self._lists, loaded.source.path, self._dropped)
        if not any(count_pairs([answer.score for answer in item.answers]) for item in self._lists):
            raise DataError(f"{loaded.source.path}: no list has two answers with different scores")
        self._sha256 = loaded.sha256

    def identity(self) -> dict[str, Any]:
        """What shapes the figures."""
        return {
            "benchmark": self.name, "data": self._sha256, "rank_by": self.rank_by, "beta": self.beta,
            "min_gap": self.min_gap, "max_length": self.max_length,
        }  # fmt: skip

    def check(self, given: GivenAnswers | None, generation: Any) -> None:
        """A model on this machine alone gives log-probabilities."""
        check_likelihoods(given, generation)

    def measure(self, desk: Desk) -> Result:
        """Pair accuracy, Kendall's tau-b and NDCG, means over lists; length-only and chance beside them."""
        scored, dropped = response_values(
            desk, self._lists, max_length=self.max_length, row_tokens=self.row_tokens, ranked=True
        )
        by_v = _figures(scored, [values for _, values in scored])
        by_length = _figures(scored, [[float(length) for length in group.lengths] for group, _ in scored])
        beside = baselines([group for group, _ in scored], desk.seed)
        intervals = {name: bootstrap_interval(each, desk.seed) for name, each in by_v.items()}
        length = {name: bootstrap_interval(each, desk.seed).mean for name, each in by_length.items()}
        records = {item.record.id: item.record for item in self._lists}
        return Result(
            scores={name: _number(interval.mean) for name, interval in intervals.items()},
            primary="pair_accuracy",
            examples=[
                _example(shown(records[group.id]), group, values, {k: each[i] for k, each in by_v.items()})
                for i, (group, values) in enumerate(scored)
            ],
            expected=len(self._lists),
            missing=sorted({item.record.id for item in self._lists} - {group.id for group, _ in scored}),
            intervals={n: (i.low, i.high) for n, i in intervals.items() if not math.isnan(i.low)},
            baselines={
                name: {"length-only": value} | ({"chance": beside["random"].mean} if name == "pair_accuracy" else {})
                for name, value in length.items()
                if not math.isnan(value)
            },
            notes=[f"{reason}: {count}" for reason, count in sorted((self._dropped + dropped).items())],
        )


def _candidates(item: AnswerList) -> AnswerList:
    """The list without an original response that is no candidate."""
    return AnswerList(item.record, tuple(answer for answer in item.answers if not math.isnan(answer.score)))


def _figures(scored: Sequence[Scored], values: Sequence[Sequence[float]]) -> dict[str, list[float]]:
    """Figures of each list by name; NaN where a list has no pair."""
    scores = [group.scores for group, _ in scored]
    return {
        "pair_accuracy": pair_accuracy(values, scores).tolist(),
        "kendall_tau": [float(kendalltau(v, s).statistic) for v, s in zip(values, scores, strict=True)],
        "ndcg": [ndcg(v, s) for v, s in zip(values, scores, strict=True)],
    }


def ndcg(values: Sequence[float], scores: Sequence[float]) -> float:
    """Normalized discounted cumulative gain of the order that ``values`` gives; 1 is perfect.

    The gain of a response is the number of distinct scores below its own, its discount log2(place + 1), places from 1
    (Jarvelin and Kekalainen 2002, linear gains). Equal values share the mean gain of their places. NaN where all
    scores are equal.

    >>> round(ndcg([0.1, 0.3, 0.2], [3, 2, 1]), 4), ndcg([3, 2, 1], [30, 20, 10])
    (0.7602, 1.0)
    """
    levels = {score: place for place, score in enumerate(sorted(set(scores)))}
    gains = np.array([levels[score] for score in scores], np.float64)
    if len(levels) < 2:
        return math.nan
    v = np.asarray(values, np.float64)
    shared = np.array([gains[v == value].mean() for value in v])
    discounts = 1 / np.log2(np.arange(2, len(gains) + 2))
    reached = (shared[np.argsort(-v, kind="stable")] * discounts).sum()
    return float(reached / (np.sort(gains)[::-1] * discounts).sum())


def _example(instruction: str, group: Any, values: list[float], figures: dict[str, float]) -> dict[str, Any]:
    return {
        "id": group.id, "task": "", "instruction": instruction, "v": [round(v, 6) for v in values],
        "ranked_by": list(group.scores), "scores": {name: _number(value) for name, value in figures.items()},
    }  # fmt: skip


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
