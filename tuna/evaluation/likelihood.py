"""Benchmarks of a model's log-probabilities: the likelihood of reference answers, and agreement with ranked lists."""

import math
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from annotated_types import Ge, Interval
from scipy.stats import kendalltau
from transformers.utils.logging import disable_progress_bar

from tuna.assets import FOLDER
from tuna.config.types import checked
from tuna.data.batch import Group
from tuna.data.lists import AnswerList, ranked_list, target_list
from tuna.data.load import Loaded, Source, load_sources, problem_text
from tuna.data.packing import Sharing, pack
from tuna.data.ranking import baselines, count_pairs, pair_accuracy
from tuna.data.record import Record
from tuna.data.tokenize import tokenize
from tuna.errors import ConfigError, DataError
from tuna.evaluation.base import Benchmark, EvalContext, Result
from tuna.evaluation.questions import GivenAnswers, Question
from tuna.inference.backend import store_in_blocks
from tuna.inference.cost import Usage
from tuna.inference.store import key_of
from tuna.models.loading import device_named, load_scorer
from tuna.models.weights import check_values
from tuna.stats import bootstrap_interval

Values = list[list[float]]  # v of each response of each list


@dataclass
class LikelihoodBenchmark(Benchmark):
    """A benchmark of v, the mean log-probability per token of the responses in a file."""

    path: str | None = None  # any format that train.py reads; null: an embedded file
    max_length: Annotated[int, Ge(2)] = 2048  # tokens of prompt plus response at most
    row_tokens: Annotated[int, Ge(2)] = 2048  # tokens of a packed row

    shaped_by: ClassVar[tuple[str, ...]] = ("max_length",)
    embedded: ClassVar[str]
    ranked: ClassVar[bool]

    def prepare(self, limit: int | None) -> None:
        """Read the records."""
        path, rank_by = self.path or str(FOLDER / self.embedded), getattr(self, "rank_by", None)
        (loaded,) = load_sources(
            [Source(path, rank_by, original="none" if self.ranked else "error", key="benchmark.path")]
        )
        self._dropped: Counter[str] = Counter()
        found = (self._list(record, loaded) for record in loaded.records[:limit])
        self._lists = [item for item in found if item is not None]
        _check_left(self._lists, path, self._dropped)
        self.hashes = {"data": loaded.sha256}

    @abstractmethod
    def _list(self, record: Record, loaded: Loaded) -> AnswerList | None:
        """The responses of a record that are scored; None, and the reason counted, where there are none."""

    def check(self, given: GivenAnswers | None, generation: Any) -> None:
        """A model on this machine alone gives log-probabilities."""
        if given is not None or generation.kind != "local":
            raise ConfigError("this benchmark needs the model's log-probabilities; give model.path=, generation=local")

    def estimate(self, context: EvalContext) -> Mapping[str, Usage]:
        """Nothing is asked of a server; what is scored here is said."""
        count = sum(len(item.answers) for item in self._lists)
        context.here.append(f"log-probabilities of {count:,} answers in {len(self._lists):,} lists")
        return {}

    def measure(self, context: EvalContext) -> Result:
        """The figures, from v of the responses, which is computed and stored block by block where it is not there yet.

        v_k = (1 / |r_k|) log p(r_k | i) in nats per token, the end-of-sequence counted (the paper's Eq. 4).
        Raises: DataError where nothing is left to score; ModelError where the model computes NaN or infinity.
        """
        model = context.model
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
        disable_progress_bar()
        dtype, device = context.generation.dtype, device_named(context.generation.device)
        kind = torch.float32 if dtype == "auto" else getattr(torch, dtype)
        there = all(key in journal for key in keys)
        scorer = None if there else load_scorer(model, dtype=kind).eval().to(device)

        def make(block: Sequence[int]) -> Iterator[dict[str, Any]]:
            values = _values(scorer, [groups[i] for i in block], self.row_tokens)
            check_values([v for each in values for v in each], model.resolve().source, "log-probabilities")
            return ({"v": each} for each in values)

        order = sorted(range(len(groups)), key=lambda i: (-groups[i].num_tokens, i))
        store_in_blocks(journal, keys, order, context.generation.batch_size, "lists", make)
        values = [journal.read(key, lambda line: [float(value) for value in line["v"]])[0] for key in keys]
        questions = [Question(group.id, self._lists[index].record) for index, group in found]
        result = self._result(questions, groups, values, context)
        result.expected = len(self._lists)
        result.missing = sorted({item.record.id for item in self._lists} - {question.id for question in questions})
        result.notes = [f"{reason}: {count}" for reason, count in sorted((self._dropped + dropped).items())]
        return result

    @abstractmethod
    def _result(
        self, questions: Sequence[Question], groups: Sequence[Group], values: Values, context: EvalContext
    ) -> Result:
        """The figures and the examples of the lists that keep something."""


def _check_left(found: Sequence[object], where: str, dropped: Counter[str]) -> None:
    if not found:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in sorted(dropped.items()) if count)
        raise DataError(f"{where}: expected a response to score, got none ({reasons or 'no rows'})")


def _content(group: Group) -> dict[str, Any]:
    """What of a list its values depend on."""
    found = {"prompt": group.prompt.tolist(), "responses": [r.tolist() for r in group.responses]}
    return found if all(mask.all() for mask in group.masks) else found | {"scored": [m.tolist() for m in group.masks]}


@torch.inference_mode()
def _values(scorer: Any, groups: Sequence[Group], row_tokens: int) -> Values:
    device = next(scorer.parameters()).device
    share = Sharing(on_gpu=device.type == "cuda")(groups)
    batch = pack(groups, row_tokens=row_tokens, share=share).to(str(device))
    flat = iter((scorer(batch).double() / batch.lengths).tolist())
    return [[next(flat) for _ in group.responses] for group in groups]


@checked
@dataclass
class NLL(LikelihoodBenchmark):
    """Mean negative log-likelihood of the original responses (``output``) of a file, in nats per token: LIMA (Table 5).

    nll is the mean over answers of each one's mean over tokens (Eq. 2); nll_tokens the mean over all tokens. The
    end-of-sequence token counts. Lower is better. path: records with an output; null: the embedded held-out questions.
    """

    name: ClassVar[str] = "nll"
    embedded: ClassVar[str] = "instructions/held_out.jsonl"
    ranked: ClassVar[bool] = False

    def _list(self, record: Record, loaded: Loaded) -> AnswerList | None:
        return target_list(record, self._dropped, False, loaded.original_best)

    def _result(
        self, questions: Sequence[Question], groups: Sequence[Group], values: Values, context: EvalContext
    ) -> Result:
        lengths, each = [group.lengths[0] for group in groups], [-v[0] for v in values]
        interval, over_tokens = bootstrap_interval(each, context.seed), float(np.average(each, weights=lengths))
        return Result(
            scores={"nll": interval.mean, "nll_tokens": over_tokens, "perplexity": math.exp(over_tokens)},
            primary="nll",
            examples=[
                context.example(question, {"nll": nll}, references=[question.record.output], num_tokens=length)
                for question, nll, length in zip(questions, each, lengths, strict=True)
            ],
            intervals={"nll": interval},
            lower_is_better=("nll", "nll_tokens", "perplexity"),
        )  # fmt: skip


@checked
@dataclass
class Agreement(LikelihoodBenchmark):
    """Whether v orders ranked lists as their ranker did. path: ranked lists; null: the embedded held-out lists."""

    max_length: Annotated[int, Ge(2)] = 1024
    rank_by: Literal["score", "eq3", "judge_score"] = "score"  # what orders the answers of the file
    beta: Annotated[float, Interval(ge=0, le=5)] = 1.3  # length exponent of rank_by=eq3
    min_gap: float = 0.0  # scores closer than this are ties

    name: ClassVar[str] = "agreement"
    shaped_by: ClassVar[tuple[str, ...]] = ("rank_by", "beta", "min_gap", "max_length")
    embedded: ClassVar[str] = "rankings/contextual_held_out.jsonl"
    ranked: ClassVar[bool] = True

    def prepare(self, limit: int | None) -> None:
        """Read the lists."""
        super().prepare(limit)
        if not any(count_pairs([answer.score for answer in item.answers]) for item in self._lists):
            raise DataError(f"{self.path or self.embedded}: no list has two answers with different scores")

    def _list(self, record: Record, loaded: Loaded) -> AnswerList | None:
        found = ranked_list(record, self._dropped, rank_by=self.rank_by, beta=self.beta, min_gap=self.min_gap)
        # An original response that is no candidate has no score.
        return found and AnswerList(record, tuple(answer for answer in found.answers if not math.isnan(answer.score)))

    def _result(
        self, questions: Sequence[Question], groups: Sequence[Group], values: Values, context: EvalContext
    ) -> Result:
        """Pair accuracy, Kendall's tau-b and NDCG, means over lists; next to them length alone, and chance."""
        scores = [group.scores for group in groups]
        by_v = _figures(scores, values)
        intervals = {name: bootstrap_interval(each, context.seed) for name, each in by_v.items()}
        by_length = _figures(scores, [group.lengths for group in groups])
        length = {name: bootstrap_interval(each, context.seed).mean for name, each in by_length.items()}
        compared = {name: {"length-only": value} for name, value in length.items() if not math.isnan(value)}
        compared["pair_accuracy"]["chance"] = baselines(groups, context.seed)["random"].mean
        return Result(
            scores={name: _number(interval.mean) for name, interval in intervals.items()},
            primary="pair_accuracy",
            examples=[
                context.example(
                    question, {name: _number(each[i]) for name, each in by_v.items()},
                    v=[round(v, 6) for v in values[i]], ranked_by=list(scores[i]),
                )
                for i, question in enumerate(questions)
            ],
            intervals=intervals,
            baselines=compared,
        )  # fmt: skip


def _figures(scores: Sequence[Sequence[float]], values: Sequence[Sequence[float]]) -> dict[str, list[float]]:
    """Figures of each list by name; NaN where a list has no pair."""
    return {
        "pair_accuracy": pair_accuracy(values, scores).tolist(),
        "kendall_tau": [
            float(kendalltau(v, s).statistic) if len(v) > 1 else math.nan for v, s in zip(values, scores, strict=True)
        ],
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
