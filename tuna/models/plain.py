"""The plain way to score responses: K x groups rows, prompt repeated, right-padded to the longest, full logits.

It is the reference that the response scorer must equal, what benchmarks compare with, and the way out for models whose
attention takes no custom mask (``model.scorer=plain``).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from tuna.data.batch import PackedBatch


def unpack(batch: PackedBatch) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """The R prompts, R responses (int64 token ids) and R masks of scored tokens of a packed batch, in response order.

    The prompt of a group is returned once for each of its responses.
    """
    prompts, responses, scored = [], [], []
    for group in range(int(batch.weights.shape[0])):
        own = batch.group_ids == group
        for k in range(1, int((batch.response_group == group).sum()) + 1):
            answer = own & (batch.response_ids == k)
            prompts.append(batch.input_ids[own & (batch.response_ids == 0)])
            responses.append(batch.input_ids[answer])
            scored.append(batch.scored[answer])
    return prompts, responses, scored


class PlainScorer(nn.Module):
    """Summed log-probability of each response, one padded row a response.

    Args:
        model: a Hugging Face causal language model; kept as ``model``.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = model

    def forward(self, batch: PackedBatch) -> Tensor:
        """Score a batch.

        Args:
            batch: G groups with R responses in all.

        Returns:
            [R] float32, natural log, differentiable: sum over its scored t of log p(response_t | prompt, response_<t).
        """
        prompts, responses, masks = unpack(batch)
        rows = [torch.cat(pair) for pair in zip(prompts, responses, strict=True)]
        input_ids = pad_sequence(rows, batch_first=True)
        length = torch.tensor([len(row) for row in rows], device=input_ids.device)
        unscored = [torch.zeros_like(prompt, dtype=torch.bool) for prompt in prompts]
        scored = pad_sequence([torch.cat(pair) for pair in zip(unscored, masks, strict=True)], batch_first=True)
        column = torch.arange(input_ids.shape[1], device=input_ids.device)
        attention_mask = (column < length[:, None]).long()
        output = self.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)
        logprobs = output.logits[:, :-1].float().log_softmax(-1)
        token = logprobs.gather(-1, input_ids[:, 1:, None]).squeeze(-1)
        total: Tensor = token.masked_fill(~scored[:, 1:], 0.0).sum(-1)
        return total
