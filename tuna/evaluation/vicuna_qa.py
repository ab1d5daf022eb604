"""Vicuna QA: a judge compares a system's answers with a baseline's, question by question, in both orders."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from annotated_types import Ge

from tuna.config.types import checked
from tuna.errors import ConfigError
from tuna.evaluation.base import Benchmark, EvalContext, Result, check_other, other_fingerprint
from tuna.evaluation.questions import GivenAnswers, Question, read_answers, read_questions, spread
from tuna.evaluation.win_rates import Judged, by_category, scores
from tuna.inference.cost import Usage
from tuna.judges import pairwise
from tuna.judges.base import Comparison, Judge, Pair

EMBEDDED_BASELINE = "tiny"


@checked
@dataclass
class VicunaQA(Benchmark):
    """Win, lose and tie against a baseline, as cfg.judge sees it.

    questions: FastChat's question.jsonl, or instruction/category rows; null: the embedded open-ended questions.
    baseline: a file of answers (instruction, output), or a model: an embedded name, a run, a folder, a hub id; null:
    tiny, for the embedded questions alone. max_tokens: of an answer. answer_tokens: expected length of an answer, for
    the estimate of what is not answered yet.

    Raises:
        ConfigError: values out of range, real questions without a baseline.
    """

    questions: str | None = None
    baseline: str | None = None
    max_tokens: Annotated[int, Ge(1)] = 1024
    answer_tokens: Annotated[int, Ge(1)] = 200

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

    def check(self, given: GivenAnswers | None, generation: Any) -> None:
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
        return {**super().estimate(context), "judge": judge.estimate_pairs(pairs, context.inference)}

    def measure(self, context: EvalContext) -> Result:
        """Both systems' answers, then the judge's verdicts on those questions that both have answered."""
        theirs = context.answers_of(self._baseline, self.asked, max_tokens=self.max_tokens)
        ours = context.answer(self.asked, max_tokens=self.max_tokens)
        judge: Judge = context.nodes["judge"]
        both = [question for question in self.asked if question.id in ours and question.id in theirs]
        pairs = [Pair(question.record, ours[question.id], theirs[question.id]) for question in both]
        found = dict(zip([q.id for q in both], judge.compare(pairs, context.inference), strict=True))
        unread = sum(comparison.outcome == "error" for comparison in found.values())
        comparisons = [found.get(q.id) or _missing(q, ours, theirs) for q in self.asked]
        judged = [
            Judged(q.task, c, len(ours.get(q.id, "")), len(theirs.get(q.id, "")))
            for q, c in zip(self.asked, comparisons, strict=True)
        ]
        figures, interval = scores(judged, context.seed)
        errors: dict[str, list[str]] = {}
        for q, c in zip(self.asked, comparisons, strict=True):
            if c.outcome == "error":
                errors.setdefault(c.reason, []).append(q.id)
        context.notes += [f"error, {reason}: {len(ids)} (question {', '.join(ids)})" for reason, ids in errors.items()]
        return Result(
            scores=figures,
            primary="adjusted_win_rate",
            examples=[
                context.example(
                    q, {"preference": item.preference}, input=q.record.input, prediction=ours.get(q.id),
                    baseline=theirs.get(q.id), outcome=c.outcome, verdicts=list(c.verdicts), reason=c.reason,
                    unreadable=list(c.raw),
                )
                for q, c, item in zip(self.asked, comparisons, judged, strict=True)
            ],
            expected=len(self.asked),
            missing=[q.id for q, c in zip(self.asked, comparisons, strict=True) if c.outcome == "error"],
            unsettled=unread if judge.asks_again else 0,
            tables={"by_category": by_category(judged)},
            intervals={"adjusted_win_rate": interval},
        )  # fmt: skip


def _missing(question: Question, ours: Mapping[str, str], theirs: Mapping[str, str]) -> Comparison:
    """The verdict on a question that one of the systems has not answered."""
    who = [who for who, answers in (("the system", ours), ("the baseline", theirs)) if question.id not in answers]
    return Comparison((None, None), f"no answer of {' and '.join(who)}")
