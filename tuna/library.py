"""A model in a notebook: ``load`` it, score the responses of records with it, hand the scores to any loss."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from tuna.data.lists import AnswerList, ranked_list, target_list
from tuna.data.packing import Sharing, pack
from tuna.data.record import Record
from tuna.data.tokenize import check_shown
from tuna.errors import DataError
from tuna.losses.base import ScoredLists
from tuna.models.loading import device_named, load_scorer
from tuna.models.source import ModelConfig


@dataclass(frozen=True)
class Scored(ScoredLists):
    """What ``Model.score`` gives: a loss takes it as it is. lists: each group's record and answers, in order."""

    lists: tuple[AnswerList, ...] = ()

    def by_list(self) -> list[list[float]]:
        """v of each answer of each list: its mean log-probability per token (Eq. 4)."""
        counts = torch.bincount(self.groups, minlength=len(self.lists)).tolist()
        return [part.tolist() for part in self.values.detach().split(counts)]


class Model:
    """A causal language model with its tokenizer and template, ready to score responses. See ``load``."""

    def __init__(self, config: ModelConfig, device: str = "auto") -> None:
        disable_progress_bar()
        self.config, self.device = config, device_named(device)
        self.encoder = config.encoder()
        self.scorer = load_scorer(config).eval().to(self.device)

    @property
    def network(self) -> Any:
        """The Hugging Face model itself."""
        return self.scorer.model

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Its tokenizer."""
        tokenizer: PreTrainedTokenizerBase = self.encoder.tokenizer
        return tokenizer

    def score(
        self,
        records: Sequence[Record],
        *,
        gradients: bool = False,
        reference: "Model | None" = None,
        row_tokens: int = 1024,
        lists_per_batch: int = 16,
    ) -> Scored:
        """Summed log-probabilities of all responses of ``records``, as training sees them.

        Empty responses and copies are left out; the original response (``output``) is one more, the cross-entropy's
        target. gradients: keep what ``backward`` needs. reference: the model that losses such as DPO compare with.
        row_tokens, lists_per_batch: how much is computed at a time, which changes no number.

        Raises: DataError where nothing is left, or a response is longer than the model has positions.
        """
        dropped: Counter[str] = Counter()
        found = [
            ranked_list(each, dropped, original_best=True) if each.responses else target_list(each, dropped, False)
            for each in records
        ]
        lists = [each for each in found if each is not None]
        if not lists:
            raise DataError(f"expected records with responses, got {len(records)} of which none can be scored")
        check_shown(self.encoder, [each.record for each in lists], [each.answers for each in lists])
        groups = [self.encoder.encode(self.encoder.write(each.record, each.answers)) for each in lists]
        most = self.config.max_positions()
        for each, group in zip(lists, groups, strict=True):
            longest = len(group.prompt) + max(map(len, group.responses))
            if most and longest > most:
                raise DataError(
                    f"{each.record.where or each.record.id}: {longest} tokens; the model has {most} positions"
                )
        logprobs: list[Tensor] = []
        with torch.set_grad_enabled(gradients):
            for start in range(0, len(groups), lists_per_batch):
                part = groups[start : start + lists_per_batch]
                share = Sharing(on_gpu=self.device.type == "cuda")(part)
                logprobs.append(self.scorer(pack(part, row_tokens=row_tokens, share=share).to(str(self.device))))
        whole = pack(groups, row_tokens=row_tokens).to(str(self.device))
        known = None
        if reference is not None:
            known = reference.score(records, row_tokens=row_tokens, lists_per_batch=lists_per_batch).logprobs
        return Scored(
            logprobs=torch.cat(logprobs), lengths=whole.lengths, scores=whole.scores, targets=whole.targets,
            groups=whole.response_group, weights=whole.weights, most_ranked=whole.most_ranked,
            reference=None if known is None else known.to(self.device), lists=tuple(lists),
        )  # fmt: skip


def load(path: str | PathLike[str] = "tiny", *, device: str = "auto", **settings: Any) -> Model:
    """The model at ``path``: an embedded name, a run's folder, a Hugging Face folder or a hub id.

    settings: the keys of ``model`` (tuna.models.source.ModelConfig), such as template="chat". Raises: ModelError where
    nothing usable is there; ConfigError for a wrong setting.
    """
    return Model(ModelConfig(path=str(path), **settings), device)
