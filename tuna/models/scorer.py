"""The scorers: each prompt once, several groups per row, projection at response positions only. See docs/scorer.md."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from tuna.data.batch import PackedBatch
from tuna.data.packing import in_columns
from tuna.errors import ModelError
from tuna.models.attention import Attention, choose, row_length
from tuna.models.frozen import compute_dtype
from tuna.models.masks import FLEX, Mask, build_masks
from tuna.models.projection import target_logprobs
from tuna.models.selfcheck import CHECKED, prove

IMPLEMENTATIONS = {"sdpa": "sdpa", "eager": "eager", "flex": "flex_attention"}  # of the plain way


class _Reached(Exception):
    """Raised in place of a backbone's forward: the model called it."""


@contextmanager
def forward_replaced(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """For a moment, calling ``module`` calls ``forward`` instead."""
    module.forward = forward
    try:
        yield
    finally:
        del module.forward  # the class's own again


def find_backbone(model: Any) -> nn.Module:
    """The module that a causal LM calls before its head, from tokens to hidden states; ModelError if there is none."""

    def reached(*_: object, **__: object) -> Any:
        raise _Reached

    for candidate in (model.base_model, model.get_decoder(), *model.children()):
        try:
            with forward_replaced(candidate, reached):
                device = next(candidate.parameters()).device
                model(input_ids=torch.zeros(1, 1, dtype=torch.long, device=device), use_cache=False)
        except _Reached:
            if candidate is not model:
                return candidate  # type: ignore[no-any-return]
        except Exception:  # this candidate is not it
            continue
    raise ModelError(f"{type(model).__name__}: no backbone found under its head; use model.scorer=plain")


def logits_of(model: Any, backbone: nn.Module, states: Tensor, output_type: type) -> Tensor:
    """Logits [B, S, V], of a reward model [B, 1], by its own forward (bias, soft-capping, scales) on states [B, S, H].

    output_type: the class of the backbone's output.
    """
    ids = torch.zeros(states.shape[:2], dtype=torch.long, device=states.device)

    def handed(*_: object, **__: object) -> Any:
        return output_type(last_hidden_state=states)

    with forward_replaced(backbone, handed):
        logits: Tensor = model(input_ids=ids, use_cache=False).logits
    return logits


class ResponseScorer(nn.Module):
    """Summed log-probability of each response of a packed batch; backbone and projection in one forward.

    model: a Hugging Face causal language model. attention: see tuna.models.attention.choose. projection_chunk: how many
    hidden states are projected to the vocabulary at a time. projection_memory: MB of the logits' gradient that are kept
    for the backward pass, see target_logprobs. On CUDA a kernel is checked on the first batch that takes it; proved and
    refused are the names of those that were. sums: whether numbers are sums over tokens.
    """

    sums: ClassVar[bool] = True

    def __init__(
        self, model: nn.Module, *, attention: Attention = "auto", projection_chunk: int = 512,
        projection_memory: int = 1024,
    ) -> None:  # fmt: skip
        super().__init__()
        self.model: Any = model
        self.attention: Attention = attention
        self.proved: set[tuple[str, bool]] = set()  # with gradients, or without
        self.refused: set[str] = set()
        self.projection_chunk, self.projection_memory = projection_chunk, projection_memory
        # Kept out of the module tree: as a second name of the same module it would double every key of a state dict.
        self._backbone = (find_backbone(model),)

    def forward(self, batch: PackedBatch) -> Tensor:
        """[R] float32, natural log, differentiable: sum over scored t of log p(response_t | prompt, response_<t)."""
        hidden, output_type = self.hidden(batch)
        hidden = hidden.flatten(0, 1).index_select(0, batch.predict_at)

        def head(states: Tensor) -> Tensor:
            return logits_of(self.model, self._backbone[0], states[None], output_type)[0]

        memory = self.projection_memory * 1e6
        token = target_logprobs(head, hidden, batch.target_ids, self.projection_chunk, memory=memory)
        total = torch.zeros(batch.lengths.shape, dtype=token.dtype, device=token.device)
        return total.index_add(0, batch.target_response, token)

    def hidden(self, batch: PackedBatch) -> tuple[Tensor, type]:
        """The hidden states [B, S, H], undefined at padding, and the type of the backbone's output."""
        device = batch.input_ids.device.type
        if device == "cpu" and not isinstance(self, FSDPModule):
            return self._hidden_by_row(batch)
        use = self.kernel(batch), torch.is_grad_enabled()
        if device == "cuda" and use[0] in CHECKED and use not in self.proved:
            self.proved.add(use)
            prove(self, batch, use[0])
        return self._hidden(batch)

    def plain(self) -> "PlainScorer":
        """The plain way, of the same model."""
        return PlainScorer(self.model)

    def kernel(self, batch: PackedBatch) -> str:
        """The attention function that the batch takes, by its transformers name."""
        columns, device = batch.input_ids.shape[1], batch.input_ids.device.type
        return choose(
            self.attention, self.model, device=device, dtype=self.dtype(device), columns=columns, shared=batch.shared,
            refused=self.refused,
        )  # fmt: skip

    def dtype(self, device: str) -> torch.dtype:
        """What attention computes in."""
        if torch.is_autocast_enabled(device):
            return torch.get_autocast_dtype(device)
        return compute_dtype(self.model)

    def _hidden(self, batch: PackedBatch) -> tuple[Tensor, type]:
        size, kernel = batch.input_ids.shape[1], self.kernel(batch)
        if kernel == FLEX:
            batch = in_columns(batch, slice(None), row_length(size))
        mask = self.masks(batch, kernel)
        output = self._backbone[0](
            input_ids=batch.input_ids, attention_mask=mask, position_ids=batch.position_ids, use_cache=False
        )
        return output.last_hidden_state[:, :size], type(output)

    def _hidden_by_row(self, batch: PackedBatch) -> tuple[Tensor, type]:
        """Row by row without padding: faster on the CPU. Sharded, all processes must run the backbone equally often."""
        size = batch.input_ids.shape[1]
        column = torch.arange(1, size + 1)
        rows: list[Tensor] = []
        output_type: type = object
        for row, width in enumerate(((batch.group_ids >= 0) * column).amax(1).tolist()):
            hidden, output_type = self._hidden(in_columns(batch, slice(row, row + 1), max(width, 1)))
            rows.append(functional.pad(hidden, (0, 0, 0, size - hidden.shape[1])))
        return torch.cat(rows), output_type

    def masks(self, batch: PackedBatch, kernel: str) -> Mask | dict[str, Mask]:
        """The batch's masks for an attention function; the model is switched to it."""
        device, config = batch.input_ids.device.type, self.model.config.get_text_config()
        if device == "cuda":
            torch.backends.cuda.enable_cudnn_sdp(False)  # masks through cuDNN give NaN gradients: huggingface/trl#7181
        if config._attn_implementation != kernel:
            self.model.set_attn_implementation(kernel)
        return build_masks(batch, config, kernel, self.dtype(device))


class RewardScorer(ResponseScorer):
    """Reward of each response by a sequence-classification model with one label; its padding id plays no part."""

    sums: ClassVar[bool] = False

    def plain(self) -> "PlainScorer":
        """The plain way, of the same model."""
        return PlainRewardScorer(self.model)

    def forward(self, batch: PackedBatch) -> Tensor:
        """[R] float32, differentiable: the head's value at each response's last token."""
        hidden, output_type = self.hidden(batch)
        states = hidden.flatten(0, 1).index_select(0, last_tokens(batch))
        return logits_of(self.model, self._backbone[0], states[:, None], output_type)[:, 0].float()


def last_tokens(batch: PackedBatch) -> Tensor:
    """[R] int64 flat position (row * S + column) of each response's last token, by the batch's group and response ids.

    >>> import numpy as np
    >>> from tuna.data.batch import Group
    >>> from tuna.data.packing import pack
    >>> two = (np.array([5, 6], np.int32), np.array([7], np.int32))
    >>> last_tokens(pack([Group("a", np.array([1, 2, 3], np.int32), two, (1.0, 0.0), (False, False))], row_tokens=8))
    tensor([4, 5])
    """
    group, response = (ids.flatten().long() for ids in (batch.group_ids, batch.response_ids))
    number, columns = len(batch.lengths), torch.arange(group.numel(), device=group.device)
    first = torch.searchsorted(batch.response_group, torch.arange(len(batch.weights), device=group.device))
    own = (group >= 0) & (response > 0)
    index = torch.where(own, first[group.clamp(min=0)] + response - 1, number)  # what is no response's goes to one more
    return torch.zeros_like(columns[: number + 1]).scatter_reduce(0, index, columns, "amax")[:number]


def unpack(batch: PackedBatch) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """For each of the R responses in order: its prompt [P] and itself [L], int64 ids; bool [L], what is scored."""
    prompts, responses, scored = [], [], []
    for group, count in enumerate(torch.bincount(batch.response_group, minlength=len(batch.weights)).tolist()):
        own = batch.group_ids == group
        for k in range(1, count + 1):
            answer = own & (batch.response_ids == k)
            prompts.append(batch.input_ids[own & (batch.response_ids == 0)])
            responses.append(batch.input_ids[answer])
            scored.append(batch.scored[answer])
    return prompts, responses, scored


def padded_rows(prompts: list[Tensor], responses: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Right-padded input ids [R, S], their attention mask [R, S] and the rows' lengths [R]."""
    rows = [torch.cat(pair) for pair in zip(prompts, responses, strict=True)]
    mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    return pad_sequence(rows, batch_first=True), mask, mask.sum(1)


class PlainScorer(nn.Module):
    """The plain way, which ResponseScorer must equal: one row per response, prompt repeated, full logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = model

    def forward(self, batch: PackedBatch) -> Tensor:
        """[R] float32, natural log, differentiable: sum over scored t of log p(response_t | prompt, response_<t)."""
        prompts, responses, masks = unpack(batch)
        input_ids, attention_mask, _ = padded_rows(prompts, responses)
        unscored = [torch.zeros_like(prompt, dtype=torch.bool) for prompt in prompts]
        scored = pad_sequence([torch.cat(pair) for pair in zip(unscored, masks, strict=True)], batch_first=True)
        output = self.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)
        logprobs = output.logits[:, :-1].float().log_softmax(-1)
        token = logprobs.gather(-1, input_ids[:, 1:, None]).squeeze(-1)
        total: Tensor = token.masked_fill(~scored[:, 1:], 0.0).sum(-1)
        return total


class PlainRewardScorer(PlainScorer):
    """Reward of each response the plain way, one padded row per response; ``model`` is as for RewardScorer."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self._backbone = (find_backbone(model),)  # a tuple, as in ResponseScorer

    def forward(self, batch: PackedBatch) -> Tensor:
        """[R] float32, differentiable: the head's value at each response's last token."""
        input_ids, attention_mask, length = padded_rows(*unpack(batch)[:2])
        output = self._backbone[0](input_ids=input_ids, attention_mask=attention_mask, use_cache=False)
        states = output.last_hidden_state[torch.arange(len(length), device=length.device), length - 1]
        return logits_of(self.model, self._backbone[0], states[:, None], type(output))[:, 0].float()
