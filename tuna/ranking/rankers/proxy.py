"""Proxy ranking (Section 3.1's PRM): the model being tuned answers N times, a reward model orders the answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from annotated_types import Ge

from tuna.config.types import checked
from tuna.data.record import Record
from tuna.inference.answers import Answer
from tuna.inference.context import Context
from tuna.judges.base import Case, Ruling, dense_levels
from tuna.judges.scored import RewardModel
from tuna.ranking.collection import Components, Ranker


@checked
@dataclass
class Proxy(RewardModel, Ranker):
    """Samples from cfg.model by cfg.sampler, or takes given answers (score_only=true), and orders them by reward.

    n: answers per instruction.

    The other keys name the reward model.
    Raises: ConfigError where none is named, or a value is out of its range.
    """

    n: Annotated[int, Ge(2)] = 4

    kind: ClassVar[str] = "proxy"
    node: ClassVar[str] = "ranker"

    def _order(self, parts: Components) -> dict[str, Any]:
        model = self.reward_model
        return {"judge": "reward model", "model": model.fingerprint, **model.shaped_by}

    def _answers(self, records: Sequence[Record], parts: Components, context: Context) -> Sequence[Sequence[Answer]]:
        found = super()._answers(records, parts, context)
        there = [(record, answers) for record, answers in zip(records, found, strict=True) if answers]
        lists = [record for record, _ in there], [answers for _, answers in there]
        rewarded = iter(self.reward(*lists, context))
        return [next(rewarded) if answers else [] for answers in found]

    def _rank(self, cases: Sequence[Case], parts: Components, context: Context) -> Sequence[Ruling]:
        """Equal rewards share a position, as equal answers do, which are scored once."""
        rewards = [[answer.reward for answer in case.answers if answer.reward is not None] for case in cases]
        return [Ruling(dense_levels([-reward for reward in of_case])) for of_case in rewards]
