"""Judges that mark each answer by itself: simple rules, a model's own log-probabilities, a reward model."""

import random
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Interval

from tuna.config.types import checked
from tuna.data.ranking import eq3
from tuna.data.record import Record
from tuna.errors import ConfigError, NoModelError
from tuna.inference.answers import Answer
from tuna.inference.context import Context
from tuna.inference.local import Device, Template
from tuna.judges.base import Case, Comparison, Judge, NoRuling, Pair, Ruling, dense_levels
from tuna.judges.checker import rouge_l
from tuna.runs import read_run

if TYPE_CHECKING:
    from tuna.models.source import ModelConfig


class MarkingJudge(Judge):
    """The higher mark is the better answer, whatever the order of asking; equal marks are ties."""

    @abstractmethod
    def marks(self, cases: Sequence[Case], context: Context) -> list[list[float | str]]:
        """For each answer of each case its mark, or why it has none."""

    def judge(self, cases: Sequence[Case], context: Context) -> list[Ruling | NoRuling]:
        """A ruling per case; an answer without a mark is left out."""
        rulings: list[Ruling | NoRuling] = []
        for found in self.marks(cases, context):
            marks = [None if isinstance(mark, str) else mark for mark in found]
            reasons = [mark for mark in found if isinstance(mark, str)]
            levels = dense_levels([None if mark is None else -mark for mark in marks])
            fewer = len(found) - len(reasons) < 2
            rulings.append(NoRuling("; ".join(dict.fromkeys(reasons))) if fewer else Ruling(levels, marks))
        return rulings

    def compare(self, pairs: Sequence[Pair], context: Context) -> list[Comparison]:
        """A comparison per pair."""
        cases = [Case(pair.record, (Answer(pair.first), Answer(pair.second))) for pair in pairs]
        found = []
        for first, second in self.marks(cases, context):
            if isinstance(first, str) or isinstance(second, str):
                found.append(Comparison((None, None), str(first if isinstance(first, str) else second)))
            else:
                sign = (first > second) - (first < second)
                found.append(Comparison((sign, sign)))
        return found


@checked
@dataclass
class Baseline(MarkingJudge):
    """What a judge has to beat. by: random, of (seed, id, answer); characters, longest or shortest; rouge, which is
    ROUGE-L to the original response.
    """

    by: Literal["random", "longest", "shortest", "rouge"] = "longest"

    def identity(self) -> dict[str, Any]:
        """What shapes its rulings."""
        return {"judge": "baseline", "by": self.by}

    def can_judge(self, record: Record) -> bool:
        """Whether there is an original response, where that is asked for."""
        return self.by != "rouge" or bool((record.output or "").strip())

    def marks(self, cases: Sequence[Case], context: Context) -> list[list[float | str]]:
        """For each answer of each case its mark, or why it has none."""
        return [[self._mark(case.record, answer.text, context.seed) for answer in case.answers] for case in cases]

    def _mark(self, record: Record, text: str, seed: int) -> float | str:
        if self.by == "random":
            return random.Random(f"{seed}\0{record.id}\0{text}").random()
        if self.by == "rouge":
            return rouge_l(text, record.output or "") if self.can_judge(record) else "no original response (output)"
        return len(text) if self.by == "longest" else -len(text)


@checked
@dataclass
class Likelihood(MarkingJudge):
    """A causal language model's own preference: log p(answer | prompt) / tokens ** beta, the paper's Eq. 3 (nats; the
    end-of-sequence counts where the answer ended by itself). beta = 1 is v of Eq. 4, 0 the summed log-probability.
    """

    path: str | None = None  # an embedded name, a run folder, a Hugging Face folder or a hub id
    revision: str | None = None  # branch, tag or commit of a hub id
    trust_remote_code: bool = False  # run code that comes with the model
    template: Template = "auto"  # of prompts; auto is chat where the tokenizer has a chat template
    template_args: dict[str, Any] | None = None  # variables of the chat template
    beta: Annotated[float, Interval(ge=0, le=5)] = 1.0  # the exponent of an answer's length in tokens
    row_tokens: Annotated[int, Ge(8)] = 2048  # tokens of a packed row
    device: Device = "auto"  # auto is CUDA where there is one

    def __post_init__(self) -> None:
        if self.path is None:
            raise ConfigError("path: missing; give judge.path=<an embedded name, a folder, a run or a hub id>")

    @cached_property
    def _model(self) -> "ModelConfig":
        from tuna.models.reward import writer
        from tuna.models.source import ModelConfig

        given = (str(self.path), self.revision, self.trust_remote_code, self.template, self.template_args)
        return writer(ModelConfig(*given))

    def identity(self) -> dict[str, Any]:
        """What shapes its rulings."""
        model = self._model
        return {"judge": "likelihood", "model": model.fingerprint, **model.shaped_by, "beta": self.beta}

    def marks(self, cases: Sequence[Case], context: Context) -> list[list[float | str]]:
        """For each answer of each case its mark, or why it has none."""
        from tuna.inference.score import score_answers

        lists = [case.record for case in cases], [case.answers for case in cases]
        scored = score_answers(self._model, *lists, context, row_tokens=self.row_tokens, device=self.device)
        return [[self._mark(answer) for answer in answers] for answers in scored]

    def _mark(self, answer: Answer) -> float | str:
        if answer.logprob is None or not answer.num_tokens:
            return answer.unusable_reason or "no log-probability"
        return eq3(answer.logprob, answer.num_tokens, self.beta)


_MAKE_ONE = (
    "python train.py stage=prm name=prm, with model.path= and datamodule.path= of your own, then {}.path=runs/prm"
)


@dataclass
class RewardModel:
    """A reward model that a config node names by itself.

    path: a run of stage prm, a Hugging Face sequence-classification folder with one label, or a hub id. revision: of a
    hub id. template: of what it reads; auto is the run's own, else chat where the tokenizer has a chat template, else
    alpaca. template_args: variables of the chat template; null: the run's own. scorer: as model.scorer. row_tokens:
    tokens per packed row. trust_remote_code: run code that comes with the model. device: auto is CUDA where there is
    one.
    """

    path: str | None = None
    revision: str | None = None
    trust_remote_code: bool = False
    template: Template = "auto"
    template_args: dict[str, Any] | None = None
    scorer: Literal["packed", "plain"] = "packed"
    row_tokens: Annotated[int, Ge(8)] = 2048
    device: Device = "auto"

    node: ClassVar[str] = "judge"  # the config node, for messages

    def __post_init__(self) -> None:
        if self.path is None:
            raise ConfigError(
                f"path: missing; give {self.node}.path=<a run of stage prm, or a reward model's folder or hub id>. "
                f"Next, where there is none yet: {_MAKE_ONE.format(self.node)}"
            )

    @cached_property
    def reward_model(self) -> "ModelConfig":
        """The config node of the reward model. Raises ModelError where there is no such model, or it is none."""
        from tuna.models.reward import check_reward_model
        from tuna.models.source import ModelConfig

        # Rewards mean something only for prompts as the run wrote them, whatever the tokenizer's template.
        run = read_run(Path(str(self.path)).expanduser()) if self.template == "auto" else {}
        found = run.get("config", {}).get("datamodule")
        trained = found if isinstance(found, dict) else {}
        node = ModelConfig(
            str(self.path), self.revision, self.trust_remote_code, trained.get("template", self.template),
            self.template_args or trained.get("template_args"), scorer=self.scorer,
        )  # fmt: skip
        try:
            resolved = node.resolve()
        except NoModelError as error:
            fault = f"{error.fault}; next, where there is none yet: {_MAKE_ONE.format(self.node)}"
            raise NoModelError(error.path, fault, key=f"{self.node}.path") from None
        check_reward_model(resolved)
        return node

    def reward(
        self, records: Sequence[Record], answers: Sequence[Sequence[Answer]], context: Context
    ) -> list[list[Answer]]:
        """The answers with their rewards; None, and a reason, where one has none."""
        from tuna.inference.score import reward_answers

        return reward_answers(
            self.reward_model, records, answers, context, row_tokens=self.row_tokens, device=self.device
        )


@checked
@dataclass
class Reward(RewardModel, MarkingJudge):
    """A reward model (the paper's PRM, or anybody's) as a judge."""

    def identity(self) -> dict[str, Any]:
        """What shapes its rulings."""
        return {"judge": "reward", "model": self.reward_model.fingerprint, **self.reward_model.shaped_by}

    def marks(self, cases: Sequence[Case], context: Context) -> list[list[float | str]]:
        """For each answer of each case its mark, or why it has none."""
        scored = self.reward([case.record for case in cases], [case.answers for case in cases], context)
        return [[a.unusable_reason or "no reward" if a.reward is None else a.reward for a in of] for of in scored]
