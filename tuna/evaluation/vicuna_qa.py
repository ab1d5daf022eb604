"""Vicuna QA: a judge compares a system's answers with a baseline's, question by question, in both orders."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
from annotated_types import Ge
from scipy.optimize import minimize

from tuna.config.types import checked
from tuna.errors import ConfigError
from tuna.evaluation.base import Benchmark, EvalContext, Result, check_other, other_fingerprint
from tuna.evaluation.questions import GivenAnswers, read_answers, read_questions, spread
from tuna.inference.cost import Usage
from tuna.judges import pairwise
from tuna.judges.base import Comparison, Judge, Pair
from tuna.stats import Interval, bootstrap_interval, spearman

EMBEDDED_BASELINE = "tiny"
RIDGE = 0.01


@dataclass(frozen=True, slots=True)
class Judged:
    """One question: what the judge said of the first system's answer, and both answers' lengths in characters."""

    category: str
    comparison: Comparison
    length: int
    baseline_length: int

    @property
    def preference(self) -> float | None:
        """1 for a win, one half for a tie, 0 for a loss, None where there is no verdict."""
        return {"win": 1.0, "tie": 0.5, "lose": 0.0}.get(self.comparison.outcome)


@checked
@dataclass
class VicunaQA(Benchmark):
    """Wins, losses and ties against a baseline, as cfg.judge sees them.
    Raises: ConfigError for values out of range, and for ``questions`` without a ``baseline``.
    """

    questions: str | None = None  # FastChat's question.jsonl, or instruction/category rows; null: the embedded ones
    # A file of answers (instruction, output), or a model: an embedded name, a run, a folder, a hub id; null: tiny, for
    # the embedded questions alone.
    baseline: str | None = None
    max_tokens: Annotated[int, Ge(1)] = 1024  # tokens of an answer at most
    answer_tokens: Annotated[int, Ge(1)] = 200  # expected of an answer, for the estimate of what is not answered yet

    name: ClassVar[str] = "vicuna_qa"
    shaped_by = ("max_tokens",)

    def __post_init__(self) -> None:
        if self.questions is not None and self.baseline is None:
            raise ConfigError(
                "baseline: missing; expected a file of answers to the same questions (instruction, output) or a model, "
                "such as benchmark.baseline=alpaca.jsonl or benchmark.baseline=runs/alpaca"
            )

    def needs(self) -> tuple[str, ...]:
        """A judge."""
        return ("judge",)

    def prepare(self, limit: int | None) -> None:
        """Read the questions, and the baseline's answers where they are a file."""
        self._read = read_questions(self.questions)
        self.asked = spread(self._read.questions, limit, lambda question: question.task)
        self._baseline = self.baseline or EMBEDDED_BASELINE
        baseline = other_fingerprint(self._baseline, self._read)
        self.hashes = {"questions": self._read.sha256, "baseline": baseline, "pairwise": pairwise.VERSION}

    def check(self, given: GivenAnswers | None, generation: object) -> None:
        """Every answer of a file must belong to a question; a baseline that is a model answers on this machine."""
        if given is not None:
            self._read.check(given)
        check_other(self._baseline, generation)

    def estimate(self, context: EvalContext) -> dict[str, Usage]:
        """The answers where a server gives them, and two questions per pair to the judge."""
        ours = context.given.match(self.asked)[0] if context.given is not None else {}
        theirs = read_answers(self._baseline).match(self.asked)[0] if Path(self._baseline).is_file() else {}
        unknown = "x" * 4 * self.answer_tokens  # about four bytes per token
        pairs = [
            Pair(q.record, ours.get((q.task, q.id), unknown), theirs.get((q.task, q.id), f"{unknown}."))
            for q in self.asked
        ]
        judge: Judge = context.nodes["judge"]
        context.estimate(self.asked, max_tokens=self.max_tokens, source=self._baseline)  # a file, or a model here
        return {**super().estimate(context), "judge": judge.estimate_pairs(pairs, context.inference)}

    def measure(self, context: EvalContext) -> Result:
        """Both systems' answers, then the judge's verdicts on those questions that both have answered."""
        theirs = context.answer(self.asked, max_tokens=self.max_tokens, source=self._baseline)
        ours = context.answer(self.asked, max_tokens=self.max_tokens)
        judge: Judge = context.nodes["judge"]
        both = [q for q in self.asked if q.id in ours and q.id in theirs]
        verdicts = judge.compare([Pair(q.record, ours[q.id], theirs[q.id]) for q in both], context.inference)
        found = {q.id: comparison for q, comparison in zip(both, verdicts, strict=True)}
        judged, examples, missing, errors = [], [], list[str](), defaultdict[str, list[str]](list)
        for q in self.asked:
            who = [who for who, answers in (("the system", ours), ("the baseline", theirs)) if q.id not in answers]
            c = found[q.id] if not who else Comparison((None, None), f"no answer of {' and '.join(who)}")
            item = Judged(q.task, c, len(ours.get(q.id, "")), len(theirs.get(q.id, "")))
            judged.append(item)
            examples.append(context.example(
                q, {"preference": item.preference}, input=q.record.input, prediction=ours.get(q.id),
                baseline=theirs.get(q.id), outcome=c.outcome, verdicts=list(c.verdicts), reason=c.reason,
                unreadable=list(c.raw),
            ))  # fmt: skip
            if c.outcome == "error":
                missing.append(q.id)
                errors[c.reason].append(q.id)
        context.notes += [f"error, {reason}: {len(ids)} (question {', '.join(ids)})" for reason, ids in errors.items()]
        figures, interval = scores(judged, context.seed)
        return Result(
            scores=figures,
            primary="adjusted_win_rate",
            examples=examples,
            expected=len(self.asked),
            missing=missing,
            unsettled=sum(c.outcome == "error" for c in verdicts) if judge.asks_again else 0,
            tables={"by_category": by_category(judged)},
            intervals={"adjusted_win_rate": interval},
        )


def scores(judged: Sequence[Judged], seed: int = 0) -> tuple[dict[str, float | None], Interval]:
    """All figures of the first system, and the bootstrap interval (over questions) of its adjusted win rate.

    adjusted_win_rate = (win + tie / 2) / (win + lose + tie). flip_rate: of the questions with both orders readable, the
    share whose two verdicts disagree. length_correlation: Spearman of the difference in length and the preference.
    length_controlled_win_rate: see there. A figure without anything to go by is None.
    """
    known = [(item, item.preference) for item in judged if item.preference is not None]
    preferences = [preference for _, preference in known]
    differences = [float(item.length - item.baseline_length) for item, _ in known]
    interval = bootstrap_interval(preferences, seed)
    found: dict[str, float | None] = {
        "adjusted_win_rate": interval.mean if known else None,
        "length_controlled_win_rate": length_controlled(preferences, differences) if known else None,
        **_counts(judged),
        "flip_rate": sum(item.comparison.flipped for item, _ in known) / len(known) if known else None,
        "length_correlation": spearman(differences, preferences),
    }
    return found, interval


def by_category(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """Win, lose, tie and error of each category in the order in which they come, then of all."""
    parts: dict[str, list[Judged]] = {}
    for item in judged:
        parts.setdefault(item.category or "-", []).append(item)
    rows = []
    for name, part in [*parts.items(), ("total", list(judged))]:
        known = [item.preference for item in part if item.preference is not None]
        rate = sum(known) / len(known) if known else None
        rows.append({"category": name, "n": len(part), **_counts(part), "adjusted_win_rate": rate})
    return rows


def _counts(judged: Sequence[Judged]) -> dict[str, int]:
    counts = Counter(item.comparison.outcome for item in judged)
    return {"win": counts["win"], "lose": counts["lose"], "tie": counts["tie"], "error": counts["error"]}


def length_controlled(preferences: Sequence[float], differences: Sequence[float]) -> float:
    """The win rate that a logistic regression expects between answers of equal length.

    In the spirit of AlpacaEval 2 (Dubois et al., 2024), for one pair of systems: p = sigmoid(a + b x) is fitted to the
    preferences (1, 0.5, 0) by maximum likelihood, where x = tanh(difference / its root mean square), so that no single
    very long answer decides; the figure is sigmoid(a), at x = 0. A ridge of 0.01 / 2 * (a^2 + b^2) keeps the fit finite
    when every question is won. Their per-question difficulty term needs other systems' verdicts and is left out.

    preferences, differences: [N], the latter in characters.

    >>> round(length_controlled([1, 1, 0, 0], [50, 60, -50, -60]), 3)  # length explains it all
    0.5
    >>> round(length_controlled([1, 1, 1, 0], [0, 0, 0, 0]), 3)  # length explains nothing
    0.747
    """
    y, d = np.asarray(preferences, np.float64), np.asarray(differences, np.float64)
    scale = math.sqrt(float((d**2).mean()))
    x = np.tanh(d / scale) if scale else d
    design = np.stack([np.ones_like(x), x], axis=1)

    def loss(weights: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        logits = design @ weights
        value = np.logaddexp(0, logits).sum() - y @ logits + RIDGE / 2 * weights @ weights
        return float(value), design.T @ (1 / (1 + np.exp(-logits)) - y) + RIDGE * weights

    found = minimize(loss, np.zeros(2), jac=True, method="BFGS", options={"gtol": 1e-9})
    return float(1 / (1 + np.exp(-found.x[0])))
