"""Proxy ranking (Section 3.1's PRM): the model being tuned answers N times, a reward model orders the answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from annotated_types import Ge

from tuna.config.types import checked
from tuna.data.record import Record
from tuna.errors import ConfigError, ModelError
from tuna.inference.answers import Answer
from tuna.inference.context import Context
from tuna.inference.local import Device
from tuna.judges.base import Case, Ruling, dense_levels
from tuna.ranking.collection import Components, Ranker
from tuna.runs import read_run

if TYPE_CHECKING:
    from tuna.models.source import ModelConfig

_MAKE_ONE = (
    "python train.py stage=prm name=prm, with model.path= and datamodule.path= of your own, then ranker.path=runs/prm"
)
Template = Literal["auto", "alpaca", "chat", "none"]


@checked
@dataclass
class Proxy(Ranker):
    """Samples from cfg.model by cfg.sampler, or takes given answers (score_only=true), and orders them by reward.

    path: the reward model: a run of stage prm, a Hugging Face sequence-classification folder with one label, or a hub
    id; revision: of a hub id. template: of what it reads; auto is the run's own, else chat where the tokenizer has a
    chat template, else alpaca. template_args: variables of the chat template; null: the run's own.
    scorer: as model.scorer. n: answers per instruction. row_tokens: tokens per packed row.

    Raises:
        ConfigError: values out of range, or no reward model is named.
    """

    path: str | None = None
    revision: str | None = None
    trust_remote_code: bool = False
    template: Template = "auto"
    template_args: dict[str, Any] | None = None
    scorer: Literal["packed", "plain"] = "packed"
    n: Annotated[int, Ge(2)] = 4
    row_tokens: Annotated[int, Ge(8)] = 2048
    device: Device = "auto"

    kind: ClassVar[str] = "proxy"

    def __post_init__(self) -> None:
        if self.path is None:
            raise ConfigError(
                "path: missing; give ranker.path=<a run of stage prm, or a reward model's folder or hub id>. "
                f"Next, where there is none yet: {_MAKE_ONE}"
            )

    @cached_property
    def reward_model(self) -> "ModelConfig":
        """The config node of the reward model.

        Raises:
            ModelError: there is no such model, or it is none.
        """
        from tuna.models.reward_source import check_reward_model
        from tuna.models.source import ModelConfig

        trained = self._trained()
        node = ModelConfig(
            str(self.path), self.revision, self.trust_remote_code, trained.get("template", self.template),
            self.template_args or trained.get("template_args"), scorer=self.scorer,
        )  # fmt: skip
        try:
            found = node.resolve()
        except ModelError as error:
            raise ModelError(
                f"{str(error).replace('model.path=', 'ranker.path=', 1)}; next, where there is none yet: {_MAKE_ONE}"
            ) from None
        check_reward_model(found)
        return node

    def _trained(self) -> dict[str, Any]:
        """How the run wrote its prompts: rewards mean something only for those, whatever the tokenizer's template."""
        if self.template != "auto":
            return {}
        run = read_run(Path(str(self.path)).expanduser())
        found = run.get("config", {}).get("datamodule")
        return found if isinstance(found, dict) else {}

    def _order(self, parts: Components) -> dict[str, Any]:
        model = self.reward_model
        return {"judge": "reward model", "model": model.fingerprint, **model.shaped_by}

    def _answers(self, records: Sequence[Record], parts: Components, context: Context) -> Sequence[Sequence[Answer]]:
        from tuna.inference.score import reward_answers

        found = super()._answers(records, parts, context)
        there = [(record, answers) for record, answers in zip(records, found, strict=True) if answers]
        rewarded = reward_answers(
            self.reward_model, [record for record, _ in there], [answers for _, answers in there], context,
            row_tokens=self.row_tokens, device=self.device,
        )  # fmt: skip
        rest = iter(rewarded)
        return [next(rest) if answers else [] for answers in found]

    def _rank(self, cases: Sequence[Case], parts: Components, context: Context) -> Sequence[Ruling]:
        """Equal rewards share a position, as equal answers do, which are scored once."""
        return [Ruling(dense_levels([-reward(answer) for answer in case.answers])) for case in cases]


def reward(answer: Answer) -> float:
    """The reward of an answer that has one."""
    assert answer.reward is not None
    return answer.reward
