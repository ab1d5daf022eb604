"""The plain way to score responses: one row per response, prompt repeated, right-padded to the longest, full logits.

It is the reference that the packed scorers must equal, and the way out for models whose attention takes no custom mask
(``model.scorer=plain``).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from tuna.data.batch import PackedBatch
from tuna.models.scorer import find_backbone, logits_of


def unpack(batch: PackedBatch) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """The R prompts, R responses (int64 token ids) and R masks of scored tokens of a packed batch, in response order.

    The prompt of a group is returned once for each of its responses.
    """
    prompts, responses, scored = [], [], []
    for group, count in enumerate(torch.bincount(batch.response_group, minlength=len(batch.weights)).tolist()):
        own = batch.group_ids == group
        for k in range(1, count + 1):
            answer = own & (batch.response_ids == k)
            prompts.append(batch.input_ids[own & (batch.response_ids == 0)])
            responses.append(batch.input_ids[answer])
            scored.append(batch.scored[answer])
    return prompts, responses, scored


def _rows(prompts: list[Tensor], responses: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Right-padded input ids [R, S], their attention mask [R, S] and the rows' lengths [R]."""
    rows = [torch.cat(pair) for pair in zip(prompts, responses, strict=True)]
    mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    return pad_sequence(rows, batch_first=True), mask, mask.sum(1)


class PlainScorer(nn.Module):
    """Summed log-probability of each response under ``model``, a Hugging Face causal language model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = model

    def forward(self, batch: PackedBatch) -> Tensor:
        """[R] float32, natural log, differentiable: sum over scored t of log p(response_t | prompt, response_<t)."""
        prompts, responses, masks = unpack(batch)
        input_ids, attention_mask, _ = _rows(prompts, responses)
        unscored = [torch.zeros_like(prompt, dtype=torch.bool) for prompt in prompts]
        scored = pad_sequence([torch.cat(pair) for pair in zip(unscored, masks, strict=True)], batch_first=True)
        output = self.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)
        logprobs = output.logits[:, :-1].float().log_softmax(-1)
        token = logprobs.gather(-1, input_ids[:, 1:, None]).squeeze(-1)
        total: Tensor = token.masked_fill(~scored[:, 1:], 0.0).sum(-1)
        return total


class PlainRewardScorer(PlainScorer):
    """Reward of each response; ``model`` is as for RewardScorer."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self._backbone = (find_backbone(model),)  # a tuple, as in ResponseScorer

    def forward(self, batch: PackedBatch) -> Tensor:
        """[R] float32, differentiable: the head's value at each response's last token."""
        input_ids, attention_mask, length = _rows(*unpack(batch)[:2])
        output = self._backbone[0](input_ids=input_ids, attention_mask=attention_mask, use_cache=False)
        states = output.last_hidden_state[torch.arange(len(length), device=length.device), length - 1]
        return logits_of(self.model, self._backbone[0], states[:, None], type(output))[:, 0].float()
