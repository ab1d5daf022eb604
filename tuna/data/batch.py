"""What flows from data to models: tokenized groups, and packed batches of them. Shapes stand beside each field."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

IntArray = npt.NDArray[np.int32]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Group:
    """One instruction, tokenized: a prompt and its K >= 1 responses, which share it.

    An original that is no candidate has score NaN and target True. scored: which tokens of a response the model itself
    writes; the rest is the template's (a line break after the turn's end, the other turns). Empty: all of them.
    """

    id: str
    prompt: IntArray  # [P], P >= 1
    responses: tuple[IntArray, ...]  # K arrays [L_k], L_k >= 1, its ending included when the answer was complete
    scores: tuple[float, ...]  # K, higher is better; NaN takes no part in the ranking
    targets: tuple[bool, ...]  # K, whether the response is a cross-entropy target
    scored: tuple[BoolArray, ...] = ()  # K arrays [L_k], one true value or more in each; or none
    reference: tuple[float, ...] = ()  # K summed log-probabilities under the reference model; or none

    @property
    def masks(self) -> tuple[BoolArray, ...]:
        """K arrays [L_k]: ``scored``, or all true."""
        return self.scored or tuple(np.ones(len(response), bool) for response in self.responses)

    @property
    def lengths(self) -> list[int]:
        """K: scored tokens of each response, the |r| of the equations."""
        return [int(mask.sum()) for mask in self.masks]

    @property
    def num_tokens(self) -> int:
        """Tokens that the packed scorer feeds for this group: prompt once, every response once."""
        return self.tokens(True)

    def tokens(self, shared: bool) -> int:
        """The same, or with a prompt for every response where it is not shared."""
        prompts = 1 if shared else len(self.responses)
        return prompts * len(self.prompt) + sum(len(response) for response in self.responses)


@dataclass(frozen=True, slots=True)
class Totals:
    """Global counts of one optimizer step, over all processes and accumulation: what sums are divided by."""

    groups: float  # groups with weight 1
    targets: float  # cross-entropy target responses
    candidate_tokens: float  # tokens of ranked responses


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """G groups with R responses in all, packed into B rows of S tokens; T scored tokens are to be predicted.

    In a row a group stands as prompt, response 1, ..., response K, contiguous; no group is split over rows. Token i may
    see token j when both have the same ``group_ids`` value, j <= i in the row, and ``response_ids[j]`` is 0 or equals
    ``response_ids[i]``. Positions restart after the prompt for each response. The first token of each response is
    predicted at the prompt's last token.
    """

    input_ids: Tensor  # [B, S] int64; padding holds any valid id
    position_ids: Tensor  # [B, S] int64; padding 0
    group_ids: Tensor  # [B, S] int32; index of the group in the batch, -1 = padding
    response_ids: Tensor  # [B, S] int32; 0 = shared prompt, k >= 1 = k-th response of its group
    scored: Tensor  # [B, S] bool; tokens that are targets
    predict_at: Tensor  # [T] int64; flat position (row * S + column) whose hidden state predicts target t
    target_ids: Tensor  # [T] int64
    target_response: Tensor  # [T] int64; response index 0..R-1, non-decreasing
    lengths: Tensor  # [R] int64; scored tokens of each response
    scores: Tensor  # [R] float32; NaN = not ranked
    targets: Tensor  # [R] bool
    response_group: Tensor  # [R] int64; group index 0..G-1, non-decreasing
    weights: Tensor  # [G] float32; 0 for a group that only fills the batch up
    totals: Totals  # of the whole optimizer step
    real_tokens: int  # tokens that are not padding
    plain_tokens: int  # tokens the plain way would feed: R x longest (prompt + response) of the batch
    reference: Tensor | None = None  # [R] float32; summed log-probabilities under the reference model
    # Known where the batch is packed, so that no step has to wait for the device to ask:
    most_ranked: int | None = None  # ranked responses of the group that has most
    shared: bool = True  # False: each response stands after a prompt of its own, which has its response_ids
    segments: Tensor | None = None  # [N + 1] int32; where each run of equal group and response ids begins in B x S
    longest_segment: int = 0

    def to(self, device: Any) -> "PackedBatch":
        """The same batch with its tensors on ``device``; copies to a device are not waited for, the others are."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=str(device) != "cpu"))

    def pin_memory(self) -> "PackedBatch":
        """The same batch in page-locked memory; DataLoader calls it, so that copies to a GPU need not wait."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "PackedBatch":
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        changed: dict[str, Any] = {name: change(v) for name, v in values if isinstance(v, Tensor)}
        return replace(self, **changed)
