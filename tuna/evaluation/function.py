"""The mean score that a function of the user's gives to a model's greedy answers: a verifiable task as a benchmark."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Annotated, Any, ClassVar

from annotated_types import Ge

from tuna.config.types import checked
from tuna.data.load import jsonable
from tuna.evaluation.base import Benchmark, EvalContext, Result
from tuna.evaluation.questions import Faults, Question, read_questions, spread
from tuna.judges.function import Functions, Scored
from tuna.stats import bootstrap_interval


@checked
@dataclass
class FunctionBenchmark(Functions, Benchmark):
    """Greedy answers to the questions of a file, scored by the functions; see ``Functions`` for how several combine."""

    questions: str | None = None  # rows of instruction or messages, and what the functions read; null: embedded ones
    max_tokens: Annotated[int, Ge(1)] = 256  # tokens of an answer at most

    name: ClassVar[str] = "function"
    node: ClassVar[str] = "benchmark"
    shaped_by = ("max_tokens",)

    def prepare(self, limit: int | None) -> None:
        """Read the questions."""
        read, faults, found = read_questions(self.questions), Faults(), []
        for question in spread(read.questions, limit, lambda question: question.task):
            with faults.at(question.record.where):
                found.append(replace(question, record=jsonable(question.record, Counter())))
        faults.check()
        self.asked, self.hashes = found, {"data": read.sha256}

    def identity(self) -> dict[str, Any]:
        """What shapes the figures besides the model. After ``prepare``."""
        return {**Benchmark.identity(self), **Functions.identity(self)}

    def measure(self, context: EvalContext) -> Result:
        """The mean over the answers that have a score. The shares of the others are of all questions.

        cannot_say: answered, but a function gave None. faults: it failed, which the same command tries again.
        """
        answers = context.answer(self.asked, max_tokens=self.max_tokens)
        answered = [question for question in self.asked if question.id in answers]
        scored = self.score([(q.record, [answers[q.id]]) for q in answered], context.inference)
        by_id = {question.id: each for question, each in zip(answered, scored, strict=True)}
        known = {name: each.totals[0] for name, each in by_id.items() if each.fault is None}
        failed = [name for name, each in by_id.items() if each.fault is not None and each.asked]
        context.notes += _reasons(by_id)
        values = [value for value in known.values() if value is not None]
        scores = {"score": fmean(values) if values else None}
        if len(self._loaded) > 1:
            scores |= _means([each.shown for each in self._loaded], scored)
        return Result(
            scores={
                **scores,
                "cannot_say": (len(known) - len(values)) / len(self.asked),
                "faults": len(failed) / len(self.asked),
            },
            primary="score",
            examples=[
                context.example(q, {"score": known.get(q.id)}, prediction=answers.get(q.id), **_more(by_id.get(q.id)))
                for q in self.asked
            ],
            expected=len(self.asked),
            missing=[question.id for question in self.asked if known.get(question.id) is None],
            unsettled=len(failed),
            tables={"by_task": _by_task(self.asked, known)},
            intervals={"score": bootstrap_interval(values, context.seed)},
            lower_is_better=("cannot_say", "faults"),
        )


def _more(scored: Scored | None) -> dict[str, Any]:
    """What an example says besides its score: the value of each function, or why there is none."""
    if scored is None or scored.fault is None:
        return {} if scored is None or len(scored.parts) == 1 else {"values": [values[0] for values in scored.parts]}
    return {"reason": scored.fault.reason, "raw": list(scored.fault.raw)}


def _reasons(by_id: dict[str, Scored]) -> list[str]:
    """Why answers have no score, with the questions."""
    reasons = defaultdict[str, list[str]](list)
    for name, each in by_id.items():
        if each.fault is not None and each.asked:
            reasons[each.fault.reason].append(name)
    return [f"no score, {why}: {len(names)} (question {', '.join(names[:5])})" for why, names in reasons.items()]


def _means(names: Sequence[str], scored: Sequence[Scored]) -> dict[str, float | None]:
    """The mean of each function by itself, over the answers of which it can say something."""
    found: dict[str, float | None] = {}
    for number, name in enumerate(names):
        values = [each.parts[number][0] for each in scored if each.parts]
        known = [value for value in values if value is not None]
        found[name] = fmean(known) if known else None
    return found


def _by_task(asked: Sequence[Question], known: dict[str, float | None]) -> list[dict[str, Any]]:
    """Mean and number of scores by task; nothing where no question has one."""
    tasks = defaultdict[str, list[float]](list)
    for question in asked:
        if question.task and (value := known.get(question.id)) is not None:
            tasks[question.task].append(value)
    return [{"task": task, "n": len(values), "score": fmean(values)} for task, values in sorted(tasks.items())]
