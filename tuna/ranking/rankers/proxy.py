"""Proxy ranking (Section 3.1's PRM): the model being tuned answers N times, a reward model orders the answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from annotated_types import Ge

from tuna.config.types import checked
from tuna.data.record import Record
from tuna.errors import ConfigError, NoModelError
from tuna.inference.answers import Answer
from tuna.inference.context import Context
from tuna.inference.local import Device, Template
from tuna.judges.base import Case, Ruling, dense_levels
from tuna.ranking.collection import Components, Ranker
from tuna.runs import read_run

if TYPE_CHECKING:
    from tuna.models.source import ModelConfig

_MAKE_ONE = (
    "python train.py stage=prm name=prm, with model.path= and datamodule.path= of your own, then ranker.path=runs/prm"
)


@checked
@dataclass
class Proxy(Ranker):
    """Samples from cfg.model by cfg.sampler, or takes given answers (score_only=true), and orders them by reward.

    path: the reward model: a run of stage prm, a Hugging Face sequence-classification folder with one label, or a hub
    id; revision: of a hub id. template: of what it reads; auto is the run's own, else chat where the tokenizer has a
    chat template, else alpaca. template_args: variables of the chat template; null: the run's own.
    scorer: as model.scorer. n: answers per instruction. row_tokens: tokens per packed row.
    Raises: ConfigError where no reward model is named, or a value is out of its range.
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
            fault = f"{error.fault}; next, where there is none yet: {_MAKE_ONE}"
            raise NoModelError(error.path, fault, key="ranker.path") from None
        check_reward_model(resolved)
        return node

    def _order(self, parts: Components) -> dict[str, Any]:
        model = self.reward_model
        return {"judge": "reward model", "model": model.fingerprint, **model.shaped_by}

    def _answers(self, records: Sequence[Record], parts: Components, context: Context) -> Sequence[Sequence[Answer]]:
        from tuna.inference.score import reward_answers

        found = super()._answers(records, parts, context)
        there = [(record, answers) for record, answers in zip(records, found, strict=True) if answers]
        lists = [record for record, _ in there], [answers for _, answers in there]
        rewarded = iter(
            reward_answers(self.reward_model, *lists, context, row_tokens=self.row_tokens, device=self.device)
        )
        return [next(rewarded) if answers else [] for answers in found]

    def _rank(self, cases: Sequence[Case], parts: Components, context: Context) -> Sequence[Ruling]:
        """Equal rewards share a position, as equal answers do, which are scored once."""
        rewards = [[answer.reward for answer in case.answers if answer.reward is not None] for case in cases]
        return [Ruling(dense_levels([-reward for reward in of_case])) for of_case in rewards]
