"""Benchmarks of a model's log-probabilities: the likelihood of reference answers, and agreement with ranked lists."""

import math
from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from scipy.stats import kendalltau
from transformers.utils.logging import disable_progress_bar

from tuna.config.scale import ASSETS
from tuna.data.baselines import baselines
from tuna.data.batch import Group
from tuna.data.lists import AnswerList, ranked_list, target_list
from tuna.data.load import Loaded, Source, load_sources, problem_text
from tuna.data.packing import pack
from tuna.data.ranking import beta_problem, count_pairs, pair_accuracy
from tuna.stats import bootstrap_interval
from tuna.data.record import Record
from tuna.data.tokenize import tokenize
from tuna.errors import ConfigError, DataError
from tuna.evaluation.base import Benchmark, EvalContext, Result
from tuna.evaluation.questions import GivenAnswers
from tuna.console import Progress
from tuna.inference.store import key_of
from tuna.judges.prompt import shown
from tuna.models.device import device_named
from tuna.models.finite import check_values
from tuna.models.loading import load_scorer


@dataclass(frozen=True, slots=True)
class Scored:
    """One record's responses as they were tokenized, and v of each."""

    record: Record
    group: Group
    values: list[float]


@dataclass
class LikelihoodBenchmark(Benchmark):
    """A benchmark of v, the mean log-probability per token of the responses in a file.

    path: any format that train.py reads; null: an embedded file. max_length: tokens of prompt plus response at most.
    row_tokens: of a packed row.

    Raises:
        ConfigError: values out of range.
    """

    path: str | None = None
    max_length: int = 2048
    row_tokens: int = 2048

    embedded: ClassVar[str]
    ranked: ClassVar[bool]

    def __post_init__(self) -> None:
        if self.max_length < 2 or self.row_tokens < 2:
            raise ConfigError("max_length, row_tokens: expected 2 or more")

    def prepare(self, limit: int | None) -> None:
        """Read the records."""
        (loaded,) = load_sources([self._source(self.path or str(ASSETS / self.embedded))])
        self._dropped: Counter[str] = Counter()
        found = (self._list(record, loaded) for record in loaded.records[:limit])
        self._lists = [item for item in found if item is not None]
        _check_left(self._lists, loaded.source.path, self._dropped)
        self._sha256 = loaded.sha256

    @abstractmethod
    def _source(self, path: str) -> Source: ...

    @abstractmethod
    def _list(self, record: Record, loaded: Loaded) -> AnswerList | None:
        """The responses of a record that are scored; None, and the reason counted, where there are none."""

    def identity(self) -> dict[str, Any]:
        """What shapes the figures."""
        return {"benchmark": self.name, "data": self._sha256, "max_length": self.max_length}

    def check(self, given: GivenAnswers | None, generation: Any) -> None:
        """A model on this machine alone gives log-probabilities."""
        if given is not None or generation.kind != "local":
            raise ConfigError("this benchmark needs the model's log-probabilities; give model.path=, generation=local")

    def measure(self, context: EvalContext) -> Result:
        """Score the responses, then compute the figures from v."""
        scored, dropped = self._score(context)
        result = self._result(scored, context.seed)
        result.expected = len(self._lists)
        result.missing = sorted({item.record.id for item in self._lists} - {item.record.id for item in scored})
        result.notes = [f"{reason}: {count}" for reason, count in sorted((self._dropped + dropped).items())]
        return result

    @abstractmethod
    def _result(self, scored: Sequence[Scored], seed: int) -> Result:
        """The figures and the examples."""

    def _score(self, context: EvalContext) -> tuple[list[Scored], Counter[str]]:
        """Each list that keeps something with v of its responses; what was dropped, shortened or cut, by reason.

        v_k = (1 / |r_k|) log p(r_k | i) in nats per token, the end-of-sequence counted (the paper's Eq. 4). What the
        journal lacks is computed and stored block by block.

        Raises:
            DataError: nothing is left.
            ModelError: the model computes no number.
        """
        model, size = context.model, context.generation.batch_size
        limit = min(self.max_length, model.max_positions() or self.max_length)
        found, counts = tokenize(self._lists, model.encoder(), limit, ranked=self.ranked)
        if counts.problems:
            raise DataError(problem_text(counts.problems))
        groups = [group for _, group in found]
        dropped = counts.dropped + Counter({"prompt shortened": counts.shortened, "response cut": counts.cut})
        _check_left(groups, f"max_length={limit}", dropped)
        journal = context.inference.store.journal("values")
        base = {"model": model.fingerprint, **context.generation.identity(), "max_length": limit}
        keys = [key_of(**base, place=place, **_content(group)) for place, group in enumerate(groups)]
        order = sorted(range(len(groups)), key=lambda i: (-groups[i].num_tokens, i))
        blocks = [order[at : at + size] for at in range(0, len(order), size)]
        missing = [block for block in blocks if any(keys[i] not in journal for i in block)]
        scorer = _load(context) if missing else None
        progress = Progress("lists", len(groups), len(groups) - sum(map(len, missing)))
        for block in missing:
            values = _values(scorer, [groups[i] for i in block], self.row_tokens)
            check_values([v for each in values for v in each], model.resolve().source, "log-probabilities")
            for i, each in zip(block, values, strict=True):
                if keys[i] not in journal:
                    journal.append({"key": keys[i], "v": each})
            progress.update(len(block))
        progress.close()
        records = {item.record.id: item.record for item in self._lists}
        stored = (journal.read(key, lambda line: [float(value) for value in line["v"]])[0] for key in keys)
        return [Scored(records[group.id], group, v) for group, v in zip(groups, stored, strict=True)], dropped


def _check_left(found: Sequence[object], where: str, dropped: Counter[str]) -> None:
    if not found:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in sorted(dropped.items()) if count)
        raise DataError(f"{where}: expected a response to score, got none ({reasons or 'no rows'})")


def _content(group: Group) -> dict[str, Any]:
    """What of a list its values depend on."""
    found = {"prompt": group.prompt.tolist(), "responses": [r.tolist() for r in group.responses]}
    return found if all(mask.all() for mask in group.masks) else found | {"scored": [m.tolist() for m in group.masks]}


def _load(context: EvalContext) -> Any:
    """The response scorer of the measured model, in eval mode."""
    disable_progress_bar()
    dtype = context.generation.dtype
    kind = torch.float32 if dtype == "auto" else getattr(torch, dtype)
    return load_scorer(context.model, dtype=kind).eval().to(device_named(context.generation.device))


@torch.inference_mode()
def _values(scorer: Any, groups: Sequence[Group], row_tokens: int) -> list[list[float]]:
    batch = pack(groups, row_tokens=row_tokens).to(str(next(scorer.parameters()).device))
    flat = iter((scorer(batch).double() / batch.lengths).tolist())
    return [[next(flat) for _ in group.responses] for group in groups]


@dataclass
class NLL(LikelihoodBenchmark):
    """Mean negative log-likelihood of the original responses (``output``) of a file, in nats per token: LIMA (Table 5).

    nll is the mean over answers of each one's mean over tokens (Eq. 2); nll_tokens the mean over all tokens. The
    end-of-sequence token counts. Lower is better. path: records with an output; null: the embedded held-out questions.
    """

    name: ClassVar[str] = "nll"
    embedded: ClassVar[str] = "instructions/held_out.jsonl"
    ranked: ClassVar[bool] = False

    def _source(self, path: str) -> Source:
        return Source(path, None, key="benchmark.path")

    def _list(self, record: Record, loaded: Loaded) -> AnswerList | None:
        return target_list(record, self._dropped, False, loaded.original_best)

    def _result(self, scored: Sequence[Scored], seed: int) -> Result:
        lengths = [item.group.lengths[0] for item in scored]
        each = [-item.values[0] for item in scored]
        interval, over_tokens = bootstrap_interval(each, seed), float(np.average(each, weights=lengths))
        return Result(
            scores={"nll": interval.mean, "nll_tokens": over_tokens, "perplexity": math.exp(over_tokens)},
            primary="nll",
            examples=[
                {
                    "id": item.record.id, "task": "", "instruction": shown(item.record),
                    "references": [item.record.output], "num_tokens": length, "scores": {"nll": value},
                }
                for item, length, value in zip(scored, lengths, each, strict=True)
            ],
            intervals={"nll": interval},
            lower_is_better=("nll", "nll_tokens", "perplexity"),
        )  # fmt: skip


@dataclass
class Agreement(LikelihoodBenchmark):
    """Whether v orders ranked lists as their ranker did.

    path: ranked lists; null: the embedded held-out lists. rank_by: score, or eq3 with beta. min_gap: scores closer than
    this are ties.

    Raises:
        ConfigError: values out of range.
    """

    max_length: int = 1024
    rank_by: Literal["score", "eq3"] = "score"
    beta: float = 1.3
    min_gap: float = 0.0

    name: ClassVar[str] = "agreement"
    embedded: ClassVar[str] = "rankings/contextual_held_out.jsonl"
    ranked: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if problem := beta_problem(self.beta):
            raise ConfigError(problem)

    def prepare(self, limit: int | None) -> None:
        """Read the lists."""
        super().prepare(limit)
        if not any(count_pairs([answer.score for answer in item.answers]) for item in self._lists):
            raise DataError(f"{self.path or self.embedded}: no list has two answers with different scores")

    def _source(self, path: str) -> Source:
        return Source(path, self.rank_by, original="none", key="benchmark.path")

    def _list(self, record: Record, loaded: Loaded) -> AnswerList | None:
        found = ranked_list(record, self._dropped, rank_by=self.rank_by, beta=self.beta, min_gap=self.min_gap)
        # An original response that is no candidate has no score.
        return found and AnswerList(record, tuple(answer for answer in found.answers if not math.isnan(answer.score)))

    def identity(self) -> dict[str, Any]:
        """What shapes the figures."""
        return super().identity() | {"rank_by": self.rank_by, "beta": self.beta, "min_gap": self.min_gap}

    def _result(self, scored: Sequence[Scored], seed: int) -> Result:
        """Pair accuracy, Kendall's tau-b and NDCG, means over lists; next to them length alone, and chance."""
        scores = [item.group.scores for item in scored]
        by_v = _figures(scores, [item.values for item in scored])
        intervals = {name: bootstrap_interval(each, seed) for name, each in by_v.items()}
        by_length = _figures(scores, [item.group.lengths for item in scored])
        compared = {name: {"length-only": bootstrap_interval(each, seed).mean} for name, each in by_length.items()}
        compared["pair_accuracy"]["chance"] = baselines([item.group for item in scored], seed)["random"].mean
        return Result(
            scores={name: _number(interval.mean) for name, interval in intervals.items()},
            primary="pair_accuracy",
            examples=[
                {
                    "id": item.record.id, "task": "", "instruction": shown(item.record),
                    "v": [round(v, 6) for v in item.values], "ranked_by": list(item.group.scores),
                    "scores": {name: _number(each[i]) for name, each in by_v.items()},
                }
                for i, item in enumerate(scored)
            ],
            intervals=intervals,
            baselines={name: each for name, each in compared.items() if not math.isnan(each["length-only"])},
        )  # fmt: skip


def _figures(scores: Sequence[Sequence[float]], values: Sequence[Sequence[float]]) -> dict[str, list[float]]:
    """Figures of each list by name; NaN where a list has no pair."""
    return {
        "pair_accuracy": pair_accuracy(values, scores).tolist(),
        "kendall_tau": [float(kendalltau(v, s).statistic) for v, s in zip(values, scores, strict=True)],
        "ndcg": [ndcg(v, s) for v, s in zip(values, scores, strict=True)],
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def ndcg(values: Sequence[float], scores: Sequence[float]) -> float:
    """Normalized discounted cumulative gain of the order that ``values`` gives; 1 is perfect.

    The gain of a response is the number of distinct scores below its own, its discount log2(place + 1), places from 1
    (Jarvelin and Kekalainen 2002, linear gains). Equal values share the mean gain of their places. NaN where all
    scores are equal.

    >>> round(ndcg([0.1, 0.3, 0.2], [3, 2, 1]), 4), ndcg([3, 2, 1], [30, 20, 10])
    (0.7602, 1.0)
    """
    gains = np.unique(np.asarray(scores, np.float64), return_inverse=True)[1]
    if not gains.any():
        return math.nan
    v = np.asarray(values, np.float64)
    shared = np.array([gains[v == value].mean() for value in v])
    discounts = 1 / np.log2(np.arange(2, len(gains) + 2))
    reached = (shared[np.argsort(-v, kind="stable")] * discounts).sum()
    return float(reached / (np.sort(gains)[::-1] * discounts).sum())
