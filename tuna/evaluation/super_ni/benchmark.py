"""Super-NaturalInstructions (Wang et al. 2022): unseen tasks by definition, alone or with two positive examples."""

from collections import Counter
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, ClassVar

from tuna.data.record import Record
from tuna.errors import ConfigError
from tuna.evaluation.base import Benchmark, Question, Result, spread
from tuna.evaluation.desk import Desk
from tuna.evaluation.given import GivenAnswers
from tuna.evaluation.super_ni.bert_score import BertScore
from tuna.evaluation.super_ni.data import Instance, read_clone
from tuna.evaluation.super_ni.metric import METRICS, Metric, group_rows, percent, rounded
from tuna.evaluation.super_ni.prompt import Count, make_prompt
from tuna.inference.cost import Usage
from tuna.stats import bootstrap_interval

SCORING = 1  # the version of how figures are made


@dataclass
class SuperNI(Benchmark):
    """Greedy answers to the test tasks of a clone, by ROUGE-L and exact match as Tk-Instruct computes them.

    root: a clone of allenai/natural-instructions. shots: positive examples in the prompt (the paper's are 0 and 2).
    instances: the first so many of each task. max_prompt_tokens: of the prompt, a model's template apart. strip: end
    prompts at "Output:", without the space after it, as Tk-Instruct did for GPT-3. max_tokens: of an answer.
    bert_score: the folder of an encoder, for BERTScore too. bert_layers: after which layer; null is the last.

    Raises:
        ConfigError: a value out of range.
    """

    root: str | None = None
    shots: int = 0
    instances: int = 100
    max_prompt_tokens: int = 1024
    strip: bool = False
    max_tokens: int = 128
    bert_score: str | None = None
    bert_layers: int | None = None

    name: ClassVar[str] = "super_ni"

    def __post_init__(self) -> None:
        least = {"shots": 0, "instances": 1, "max_prompt_tokens": 1, "max_tokens": 1}
        wrong = [
            f"{key}: expected {low} or more, got {getattr(self, key)}"
            for key, low in least.items()
            if getattr(self, key) < low
        ]
        if self.bert_layers is not None and self.bert_score is None:
            wrong.append("bert_layers: expected bert_score=FOLDER beside it")
        if wrong:
            raise ConfigError("\n".join(wrong))

    def prepare(self, limit: int | None) -> None:
        """Read the clone."""
        data = read_clone(self.root, self.instances)
        self._sha256 = data.sha256
        self._tasks = {task.name: task for task in data.tasks}
        every = [instance for task in data.tasks for instance in task.instances]
        self._instances = spread(every, [instance.task for instance in every], limit)
        self._bert = BertScore(self.bert_score, self.bert_layers) if self.bert_score else None

    def identity(self) -> dict[str, Any]:
        """What shapes the figures."""
        keys = ("shots", "instances", "max_prompt_tokens", "strip", "max_tokens", "bert_layers")
        encoder = self._bert.fingerprint() if self._bert else None
        scoring = {"scoring": SCORING, "rouge-score": version("rouge-score"), "bert_score": encoder}
        return {"benchmark": self.name, "data": self._sha256, **scoring, **{key: getattr(self, key) for key in keys}}

    def check(self, given: GivenAnswers | None, generation: Any) -> None:
        """A file must answer some question."""
        if given is not None:
            given.match(self._questions(None, self.max_prompt_tokens)[0])

    def estimate(self, desk: Desk) -> dict[str, Usage]:
        """The answers, where a server gives them."""
        return {"answers": desk.estimate(self._questions(*self._counter(desk))[0], max_tokens=self.max_tokens)}

    def _counter(self, desk: Desk) -> tuple[Count | None, int]:
        return _counter(desk, self.max_tokens, self.max_prompt_tokens)

    def _questions(self, count: Count | None, limit: int) -> tuple[list[Question], list[str]]:
        """The questions, and what there is to say of their prompts."""
        questions, shown, cut = [], Counter[int](), 0
        for instance in self._instances:
            task = self._tasks[instance.task]
            prompt = make_prompt(task, instance.input, self.shots, count, limit)
            wanted = min(self.shots, len(task.positive))
            shown[prompt.shown - wanted] += 1
            cut += prompt.cut
            text = prompt.text.strip() if self.strip else prompt.text
            questions.append(Question(instance.id, Record(instance.id, text), instance.task))
        fewer = sum(number for less, number in shown.items() if less < 0)
        notes = [f"{fewer} prompts had no room for all positive examples in {limit} tokens"] if fewer else []
        if cut:
            notes.append(f"{cut} prompts were longer than {limit} tokens even without examples: their inputs were cut")
        return questions, notes

    def measure(self, desk: Desk) -> Result:
        """Means over instances and over tasks; by category and by task."""
        questions, notes = self._questions(*self._counter(desk))
        answers = desk.answer(questions, max_tokens=self.max_tokens)
        there = [instance for instance in self._instances if instance.id in answers]
        metric = Metric()
        scores = [metric.score(answers[instance.id], instance.references) for instance in there]
        if self._bert is not None:
            found = self._bert.f1([answers[i.id] for i in there], [i.references for i in there])
            scores = [{**each, "bert_score": value} for each, value in zip(scores, found, strict=True)]
        prompts = {question.id: question.record.instruction for question in questions}
        return Result(
            scores=self._scores(there, scores),
            primary="rougeL",
            examples=[
                {
                    "id": instance.id, "task": instance.task, "instruction": prompts[instance.id],
                    "prediction": answers[instance.id], "references": list(instance.references), "scores": each,
                }
                for instance, each in zip(there, scores, strict=True)
            ],
            expected=len(self._instances),
            missing=[instance.id for instance in self._instances if instance.id not in answers],
            tables=self._tables(there, scores),
            intervals=_intervals(scores, desk.seed),
            notes=[*notes, *self._missing_note(there, scores)],
        )  # fmt: skip

    def _scores(self, there: list[Instance], scores: list[dict[str, float]]) -> dict[str, float | None]:
        """Each metric's mean over instances, then over tasks; rounded as officially, then in full."""
        by_task: dict[str, list[dict[str, float]]] = {}
        for instance, each in zip(there, scores, strict=True):
            by_task.setdefault(instance.task, []).append(each)
        full: dict[str, float | None] = {}
        names = ["rougeL", *(name for name in METRICS if name != "rougeL"), *(["bert_score"] if self._bert else [])]
        for name in names:
            full[name] = percent(each[name] for each in scores)
        for name in names:
            means = [percent(each[name] for each in found) or 0.0 for found in by_task.values()]
            full[f"{name}_over_tasks"] = sum(means) / len(means) if means else None
        return {name: rounded(value) for name, value in full.items()} | {f"{k}_full": v for k, v in full.items()}

    def _tables(self, there: list[Instance], scores: list[dict[str, float]]) -> dict[str, list[dict[str, Any]]]:
        category = {name: task.category for name, task in self._tasks.items()}
        every = [instance.task for instance in self._instances]
        own = {name: name for name in category.values()}
        return {
            "by_category": group_rows(
                "category", [category[i.task] for i in there], scores, own, [category[task] for task in every]
            ),
            "by_task": group_rows("task", [i.task for i in there], scores, category, every),
        }

    def _missing_note(self, there: list[Instance], scores: list[dict[str, float]]) -> list[str]:
        lacking = len(self._instances) - len(there)
        if not lacking or not there:
            return []
        zero = sum(each["rougeL"] for each in scores) * 100 / len(self._instances)
        return [
            f"{lacking} predictions are missing; as in the official code the means are over those that are there "
            f"(rougeL would be {zero:.4f} with 0 for each missing one)"
        ]


def _counter(desk: Desk, max_tokens: int, limit: int) -> tuple[Count | None, int]:
    """How a prompt's tokens are counted, and how many it may have.

    Tokens that the tokenizer adds to every text count, as officially. A local model's template and answer need their
    part of its positions. Answers from a file had prompts already: no count.
    """
    if desk.given is not None:
        return None, limit
    count: Count = desk.count_tokens
    if desk.generation.kind != "local":
        return count, limit
    tokenizer: Any = desk.model.tokenizer()
    added = int(tokenizer.num_special_tokens_to_add())
    if desk.max_positions is not None:
        around = len(desk.model.encoder().prompt(Record("", ".")))
        limit = min(limit, desk.max_positions - min(max_tokens, desk.max_positions // 2) - around)
    return (lambda text: count(text) + added), limit


def _intervals(scores: list[dict[str, float]], seed: int) -> dict[str, tuple[float, float]]:
    found = {}
    for name in scores[0] if scores else ():
        interval = bootstrap_interval([100 * each[name] for each in scores], seed)
        found[name] = (interval.low, interval.high)
    return found
