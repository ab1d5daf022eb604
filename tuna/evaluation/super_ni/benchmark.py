"""Super-NaturalInstructions (Wang et al. 2022): unseen tasks by definition, alone or with two positive examples."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Annotated, Any, ClassVar

from annotated_types import Ge

from tuna.config.types import checked
from tuna.data.record import Record
from tuna.errors import ConfigError
from tuna.evaluation.base import Benchmark, EvalContext, Result
from tuna.evaluation.questions import spread
from tuna.evaluation.super_ni.data import Count, Instance, make_prompt, read_clone
from tuna.evaluation.super_ni.metric import METRICS, BertScore, group_rows, percent, rounded, score
from tuna.inference.cost import Usage
from tuna.stats import bootstrap_interval

SCORING = 1  # the version of how figures are made


@checked
@dataclass
class SuperNI(Benchmark):
    """Greedy answers to the test tasks of a clone, by ROUGE-L and exact match as Tk-Instruct computes them."""

    root: str | None = None  # a clone of allenai/natural-instructions
    shots: Annotated[int, Ge(0)] = 0  # positive examples in the prompt (the paper's are 0 and 2)
    instances: Annotated[int, Ge(1)] = 100  # how many of each task, the first ones
    max_prompt_tokens: Annotated[int, Ge(1)] = 1024  # tokens of a prompt at most, a model's template apart
    strip: bool = False  # end prompts at "Output:", without the space after it, as Tk-Instruct did for GPT-3
    max_tokens: Annotated[int, Ge(1)] = 128  # tokens of an answer at most
    bert_score: str | None = None  # the folder of an encoder, for BERTScore too
    bert_layers: Annotated[int, Ge(1)] | None = None  # the layer that BERTScore takes; null: the last

    name: ClassVar[str] = "super_ni"
    shaped_by = ("shots", "instances", "max_prompt_tokens", "strip", "max_tokens", "bert_layers")

    def __post_init__(self) -> None:
        if self.bert_layers is not None and self.bert_score is None:
            raise ConfigError("bert_layers: expected bert_score=FOLDER with it")

    def prepare(self, limit: int | None) -> None:
        """Read the clone."""
        tasks, sha256 = read_clone(self.root, self.instances)
        self._tasks = {task.name: task for task in tasks}
        every = [instance for task in tasks for instance in task.instances]
        self._instances = spread(every, limit, lambda instance: instance.task)
        self.asked, _ = self._prompts(None, 0)
        self._bert = BertScore(self.bert_score, self.bert_layers) if self.bert_score else None
        encoder, rouge = self._bert and self._bert.fingerprint(), version("rouge-score")
        self.hashes = {"data": sha256, "scoring": SCORING, "rouge-score": rouge, "bert_score": encoder}

    def estimate(self, context: EvalContext) -> dict[str, Usage]:
        """The answers, where a server gives them."""
        questions, _ = self._prompts(*self._counter(context))
        return {"answers": context.estimate(questions, max_tokens=self.max_tokens)}

    def _counter(self, context: EvalContext) -> tuple[Count | None, int]:
        """How a prompt's tokens are counted, and how many it may have.

        Tokens that the tokenizer adds to every text count, as officially; a local model needs room to answer.
        """
        limit, model = self.max_prompt_tokens, context.model
        if context.given is not None:
            return None, limit  # its answers had prompts already
        count: Count = context.generation.counter(model)
        if context.generation.kind != "local":
            return count, limit
        tokenizer: Any = model.tokenizer()
        added = int(tokenizer.num_special_tokens_to_add())
        if (positions := model.max_positions()) is not None:
            around = len(model.encoder().prompt(Record("", ".")))
            limit = min(limit, positions - min(self.max_tokens, positions // 2) - around)
        return (lambda text: count(text) + added), limit

    def _prompts(self, count: Count | None, limit: int) -> tuple[list[Instance], list[str]]:
        """The questions as prompts, and what there is to say of these."""
        questions, fewer, cut = [], 0, 0
        for instance in self._instances:
            task = self._tasks[instance.task]
            prompt = make_prompt(task, instance.record.instruction, self.shots, count, limit)
            fewer += prompt.shown < min(self.shots, len(task.positive))
            cut += prompt.cut
            record = Record(instance.id, prompt.text.strip() if self.strip else prompt.text)
            questions.append(replace(instance, record=record))
        notes = [f"{fewer} prompts had no room for all positive examples in {limit} tokens"] if fewer else []
        if cut:
            notes.append(f"{cut} prompts were longer than {limit} tokens even without examples: their inputs were cut")
        return questions, notes

    def measure(self, context: EvalContext) -> Result:
        """Means over instances and over tasks; by category and by task."""
        questions, notes = self._prompts(*self._counter(context))
        answers = context.answer(questions, max_tokens=self.max_tokens)
        there = [instance for instance in questions if instance.id in answers]
        scores = [score(answers[instance.id], instance.references) for instance in there]
        if self._bert is not None:
            found = self._bert.f1([answers[i.id] for i in there], [i.references for i in there])
            scores = [{**each, "bert_score": value} for each, value in zip(scores, found, strict=True)]
        missing = [instance.id for instance in self._instances if instance.id not in answers]
        if missing and there:
            zero = sum(each["rougeL"] for each in scores) * 100 / len(self._instances)
            notes.append(
                f"{len(missing)} predictions are missing; as in the official code the means are over those that are "
                f"there (rougeL would be {zero:.4f} with 0 for each missing one)"
            )
        return Result(
            **self._figures(there, scores),
            primary="rougeL",
            examples=[
                context.example(instance, each, prediction=answers[instance.id], references=list(instance.references))
                for instance, each in zip(there, scores, strict=True)
            ],
            expected=len(self._instances),
            missing=missing,
            intervals={
                name: bootstrap_interval([100 * each[name] for each in scores], context.seed)
                for name in (scores[0] if scores else ())
            },
            notes=notes,
        )  # fmt: skip

    def _figures(self, there: Sequence[Instance], scores: Sequence[dict[str, float]]) -> dict[str, Any]:
        """Each metric's mean over instances, then over tasks, rounded as officially, then in full; and the tables."""
        category = {name: task.category for name, task in self._tasks.items()}
        metric_of = category | {name: name for name in category.values()}
        by_task: dict[str, list[dict[str, float]]] = {i.task: [] for i in self._instances}
        by_category: dict[str, list[dict[str, float]]] = {category[i.task]: [] for i in self._instances}
        for instance, each in zip(there, scores, strict=True):
            by_task[instance.task].append(each)
            by_category[category[instance.task]].append(each)
        totals = Counter(group for i in self._instances for group in (i.task, category[i.task]))
        names = ["rougeL", *(name for name in METRICS if name != "rougeL"), *(["bert_score"] if self._bert else [])]
        full = {name: percent(each[name] for each in scores) for name in names}
        for name in names:
            means = [percent(each[name] for each in found) or 0.0 for found in by_task.values() if found]
            full[f"{name}_over_tasks"] = sum(means) / len(means) if means else None
        tables = {
            "by_category": group_rows("category", by_category, totals, metric_of),
            "by_task": group_rows("task", by_task, totals, metric_of),
        }
        figures = {name: rounded(value) for name, value in full.items()} | {f"{k}_full": v for k, v in full.items()}
        return {"scores": figures, "tables": tables}
