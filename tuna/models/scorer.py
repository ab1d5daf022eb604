"""The response scorer: prompt once, several groups a row, projection at response positions only. Exact.

See docs/scorer.md. ``PlainScorer`` computes the same numbers the plain way.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.nn import functional

from tuna.data.batch import PackedBatch
from tuna.errors import ModelError
from tuna.models.blocks import NAME
from tuna.models.masks import Mask, build_masks
from tuna.models.projection import target_logprobs

ROW_FIELDS = ("input_ids", "position_ids", "group_ids", "response_ids")
IMPLEMENTATIONS = {"sdpa": "sdpa", "eager": "eager", "flex": "flex_attention"}


class _Reached(Exception):
    """Raised in place of a backbone's forward to learn which module the model calls."""


@contextmanager
def forward_replaced(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """For a moment, calling ``module`` calls ``forward`` instead."""
    module.forward = forward
    try:
        yield
    finally:
        del module.forward  # the class's own again


def find_backbone(model: Any) -> nn.Module:
    """The module inside a causal LM that turns tokens into hidden states; what its forward calls before its head.

    Raises:
        ModelError: the model's forward calls neither its base model nor its decoder.
    """

    def reached(*_: Any, **__: Any) -> Any:
        raise _Reached

    for candidate in (model.base_model, model.get_decoder(), *model.children()):
        if candidate is model:
            continue
        try:
            with forward_replaced(candidate, reached):
                device = next(candidate.parameters()).device
                model(input_ids=torch.zeros(1, 1, dtype=torch.long, device=device), use_cache=False)
        except _Reached:
            assert isinstance(candidate, nn.Module)
            return candidate
        except Exception:  # this candidate is not it
            continue
    raise ModelError(f"{type(model).__name__}: no backbone found under its head; use model.scorer=plain")


class ResponseScorer(nn.Module):
    """Summed log-probability of each response of a packed batch; backbone and projection in one forward.

    Args:
        model: a Hugging Face causal language model; kept as ``model``.
        attention: "auto" is FlexAttention on CUDA (where the model has it), else SDPA, else eager.
        projection_chunk: how many hidden states are projected to the vocabulary at a time.
    """

    def __init__(self, model: nn.Module, *, attention: str = "auto", projection_chunk: int = 512) -> None:
        super().__init__()
        self.model: Any = model
        self.attention = attention
        self.projection_chunk = projection_chunk
        # Kept out of the module tree: as a second name of the same module it would double every key of a state dict.
        self._backbone = (find_backbone(model),)

    def forward(self, batch: PackedBatch) -> Tensor:
        """Score a batch.

        Args:
            batch: G groups with R responses in all, T response tokens.

        Returns:
            [R] float32, natural log, differentiable: sum over t of log p(response_t | prompt, response_<t).
        """
        hidden, output_type = self.hidden(batch)
        hidden = hidden.flatten(0, 1).index_select(0, batch.predict_at)

        def head(states: Tensor) -> Tensor:
            return self._logits(states, output_type)

        token = target_logprobs(head, hidden, batch.target_ids, self.projection_chunk)
        total = torch.zeros(batch.lengths.shape, dtype=token.dtype, device=token.device)
        return total.index_add(0, batch.target_response, token)

    def hidden(self, batch: PackedBatch) -> tuple[Tensor, type]:
        """[B, S, H] hidden states of a batch, with the type of the backbone's output; whatever at padding."""
        if batch.input_ids.device.type == "cpu" and not isinstance(self, FSDPModule):
            return self._hidden_by_row(batch)
        return self._hidden(batch)

    def _hidden(self, batch: PackedBatch) -> tuple[Tensor, type]:
        """[B, S, H] from the backbone, with the type of its output."""
        output = self._backbone[0](
            input_ids=batch.input_ids,
            attention_mask=self._masks(batch),
            position_ids=batch.position_ids,
            use_cache=False,
        )
        return output.last_hidden_state, type(output)

    def _hidden_by_row(self, batch: PackedBatch) -> tuple[Tensor, type]:
        """The same row by row, each without its padding, which on the CPU is faster than a batch of padded rows.

        Not when sharded: there all processes must run the backbone equally often.
        """
        size = batch.input_ids.shape[1]
        column = torch.arange(1, size + 1)
        rows: list[Tensor] = []
        output_type: type = object
        for row, width in enumerate(((batch.group_ids >= 0) * column).amax(1).tolist()):
            part = {name: getattr(batch, name)[row : row + 1, : max(width, 1)] for name in ROW_FIELDS}
            hidden, output_type = self._hidden(replace(batch, **part))
            rows.append(functional.pad(hidden, (0, 0, 0, size - hidden.shape[1])))
        return torch.cat(rows), output_type

    def _logits(self, states: Tensor, output_type: type) -> Tensor:
        """[n, H] -> [n, V], by the model's own forward on a backbone output that we hand it.

        So biases, soft-capping and logit scales are what the model's class does, whatever they are.
        """
        ids = torch.zeros(1, states.shape[0], dtype=torch.long, device=states.device)

        def backbone(*_: Any, **__: Any) -> Any:
            return output_type(last_hidden_state=states[None])

        with forward_replaced(self._backbone[0], backbone):
            logits: Tensor = self.model(input_ids=ids, use_cache=False).logits
        return logits[0]

    def _masks(self, batch: PackedBatch) -> Mask | dict[str, Mask]:
        device = batch.input_ids.device.type
        implementation = self._implementation(device)
        dtype = self.model.get_input_embeddings().weight.dtype
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
        return build_masks(batch, self.model.config.get_text_config(), implementation, dtype)

    def _implementation(self, device: str) -> str:
        """The attention implementation for tensors on ``device``; the model is switched to it."""
        if device == "cuda":
            torch.backends.cuda.enable_cudnn_sdp(False)  # masks through cuDNN give NaN gradients: huggingface/trl#7181
        if self.attention != "auto":
            wanted = IMPLEMENTATIONS[self.attention]
        elif device == "cuda" and self._flex_fits():
            wanted = "flex_attention"  # its CPU kernel has no backward pass
        else:
            wanted = "sdpa" if self.model._supports_sdpa else "eager"
        if wanted == "sdpa" and device == "cpu":
            wanted = NAME
        if self.model.config.get_text_config()._attn_implementation != wanted:
            self.model.set_attn_implementation(wanted)
        return wanted

    def _flex_fits(self) -> bool:
        """Whether the model has FlexAttention, and uses it without dropout (it has none)."""
        config = self.model.config.get_text_config()
        dropout = any(getattr(config, key, 0.0) for key in ("attention_dropout", "attn_pdrop", "attn_dropout"))
        return bool(self.model._supports_flex_attn) and not dropout
