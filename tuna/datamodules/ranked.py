"""Ranked lists, for a ranking loss or a reward model. Arguments: see RankSettings and DataSettings."""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from annotated_types import Ge

from tuna.config.types import checked
from tuna.data.lists import AnswerList
from tuna.data.load import Loaded
from tuna.data.ranking import count_pairs
from tuna.datamodules.base import RecordDataModule
from tuna.datamodules.settings import RankSettings


class ContextualDataModule(RankSettings, RecordDataModule):
    """Contextual ranking: lists ordered by their scores, of a judge or a reward model. Arguments: RankSettings."""


@checked
@dataclass(kw_only=True, eq=False, repr=False)
class ProbabilisticDataModule(ContextualDataModule):
    """Probabilistic ranking: lists ordered at load by a teacher's log-probabilities, Eq. 3. Arguments: RankSettings."""

    rank_by: Literal["score", "eq3", "judge_score"] = "eq3"


@checked
@dataclass(kw_only=True, eq=False, repr=False)
class PRMDataModule(ContextualDataModule):
    """Ranked lists for a reward model; a response that has no score takes no part, nor does a list without a pair.

    original: where the ``output`` that a record lacks is found; needed for rank_original only.
    """

    original: str = "none"
    batch_size: Annotated[int, Ge(1)] = 64

    def lists_of(self, loaded: Loaded, dropped: Counter[str]) -> list[AnswerList]:
        """The lists with a pair, without targets."""
        kept = []
        for item in super().lists_of(loaded, dropped):
            answers = tuple(replace(a, target=False) for a in item.answers if a.score == a.score)
            if count_pairs([a.score for a in answers]):
                kept.append(replace(item, answers=answers))
            else:
                dropped["list whose answers are all tied"] += 1
        return kept
