"""The reward scorer: one number a response, read at its last token; the same packed rows as the response scorer.

The model is Hugging Face's sequence-classification class of a causal architecture with one label. Where a response ends
is what the batch says; the padding id, at which that class looks, plays no part.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from tuna.data.batch import PackedBatch
from tuna.models.plain import PlainScorer, unpack
from tuna.models.scorer import ResponseScorer, find_backbone, forward_replaced


class RewardScorer(ResponseScorer):
    """Reward of each response of a packed batch; backbone and head in one forward.

    Args:
        model: a sequence-classification model with one label and a padding id; kept as ``model``.
        attention: as for ResponseScorer.
    """

    def __init__(self, model: nn.Module, *, attention: str = "auto") -> None:
        super().__init__(model, attention=attention)

    def forward(self, batch: PackedBatch) -> Tensor:
        """Score a batch.

        Args:
            batch: G groups with R responses in all.

        Returns:
            [R] float32, differentiable: the head's value at each response's last token.
        """
        hidden, output_type = self.hidden(batch)
        states = hidden.flatten(0, 1).index_select(0, last_tokens(batch))
        return _head(self.model, self._backbone[0], states, output_type)


class PlainRewardScorer(PlainScorer):
    """The same the plain way: one row a response, prompt repeated, right-padded to the longest.

    Args:
        model: as for RewardScorer.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self._backbone = (find_backbone(model),)

    def forward(self, batch: PackedBatch) -> Tensor:
        """Score a batch.

        Args:
            batch: G groups with R responses in all.

        Returns:
            [R] float32, differentiable.
        """
        prompts, responses, _ = unpack(batch)
        rows = [torch.cat(pair) for pair in zip(prompts, responses, strict=True)]
        input_ids = pad_sequence(rows, batch_first=True)
        length = torch.tensor([len(row) for row in rows], device=input_ids.device)
        attention_mask = (torch.arange(input_ids.shape[1], device=input_ids.device) < length[:, None]).long()
        output = self._backbone[0](input_ids=input_ids, attention_mask=attention_mask, use_cache=False)
        states = output.last_hidden_state[torch.arange(len(rows), device=length.device), length - 1]
        return _head(self.model, self._backbone[0], states, type(output))


def head_names(reward: Any) -> list[str]:
    """Names of the parameters that are not the backbone's."""
    inside = {id(parameter) for parameter in reward.base_model.parameters()}
    return [name for name, parameter in reward.named_parameters() if id(parameter) not in inside]


def last_tokens(batch: PackedBatch) -> Tensor:
    """[R] int64 flat position (row * S + column) of each response's last token, by the batch's group and response ids.

    >>> import numpy as np
    >>> from tuna.data.batch import Group
    >>> from tuna.data.packing import pack
    >>> two = (np.array([5, 6], np.int32), np.array([7], np.int32))
    >>> last_tokens(pack([Group("a", np.array([1, 2, 3], np.int32), two, (1.0, 0.0), (False, False))], row_tokens=8))
    tensor([4, 5])
    """
    response = batch.response_ids.flatten().long()
    counts = torch.bincount(batch.response_group, minlength=batch.weights.shape[0])
    first = counts.cumsum(0) - counts  # index of each group's first response
    own = ((batch.group_ids.flatten() >= 0) & (response > 0)).nonzero().squeeze(1)
    index = first[batch.group_ids.flatten().long()[own]] + response[own] - 1
    return torch.zeros_like(batch.lengths).scatter_reduce(0, index, own, "amax")


def _head(model: Any, backbone: nn.Module, states: Tensor, output_type: type) -> Tensor:
    """[R, H] -> [R] float32, by the model's own forward on a backbone output that we hand it, each row one token."""
    ids = torch.zeros(states.shape[0], 1, dtype=torch.long, device=states.device)

    def handed(*_: Any, **__: Any) -> Any:
        return output_type(last_hidden_state=states[:, None])

    with forward_replaced(backbone, handed):
        logits: Tensor = model(input_ids=ids, use_cache=False).logits
    return logits[:, 0].float()
