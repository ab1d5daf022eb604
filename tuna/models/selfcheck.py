"""A kernel that was compiled for this card, checked on the first batch that takes it, before it trains anything."""

import logging
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from tuna.data.batch import PackedBatch
from tuna.data.packing import in_columns
from tuna.errors import ModelError
from tuna.models.attention import HALF, head_size, row_length
from tuna.models.masks import FLEX, VARLEN, build_masks

if TYPE_CHECKING:
    from tuna.models.scorer import ResponseScorer

log = logging.getLogger("tuna")
CHECKED = (FLEX, VARLEN)
# Of a norm, and per token of a log-probability (of a reward, of the larger of it and 1): bf16 has 8 bits, and layers
# add up; a wrong mask or gradient is off by tenths.
ALLOWED = {True: (0.03, 0.1), False: (1e-3, 1e-3)}


def prove(scorer: "ResponseScorer", batch: PackedBatch, kernel: str) -> None:
    """Check ``kernel`` on the batch; where it is wrong, say so, and have the scorer use another from now on.

    Raises: ModelError where it was asked for by name.
    """
    try:
        fault = kernel_fault(scorer, batch, kernel) or rows_fault(scorer, batch)
    except torch.OutOfMemoryError:  # of the check, which makes the scores of a row
        log.warning(f"{kernel} could not be checked on this device: out of memory; it is used unchecked")
        return
    except (RuntimeError, torch._dynamo.exc.TorchDynamoException) as error:  # no such kernel
        fault = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    if fault is None:
        return
    told = f"{kernel} is wrong on this device: {fault}"
    if scorer.attention != "auto":
        raise ModelError(f"{told}; next: model.attention=auto, or model.attention=sdpa")
    scorer.refused.add(kernel)
    log.warning(f"{told}; {scorer.kernel(batch)} is used instead, which is slower (model.attention=sdpa: no check)")


def kernel_fault(scorer: "ResponseScorer", batch: PackedBatch, kernel: str) -> str | None:
    """The function itself on random tensors of the batch's shape, with gradients where they are on, against SDPA."""
    config, device = scorer.model.config.get_text_config(), batch.input_ids.device
    dtype, heads = scorer.dtype(device.type), config.num_attention_heads
    keys = getattr(config, "num_key_value_heads", None) or heads
    rows, columns = batch.input_ids.shape
    batch = in_columns(batch, slice(None), row_length(columns)) if kernel == FLEX else batch
    first = in_columns(batch, slice(1), batch.input_ids.shape[1])  # the scores of all would take too much memory
    made, dense = build_masks(batch, config, kernel, dtype), build_masks(first, config, "sdpa", torch.float32)
    draw = torch.Generator(device).manual_seed(0)
    shapes = [(rows, count, batch.input_ids.shape[1], head_size(config)) for count in (heads, keys, keys, heads)]
    *inputs, weight = (torch.randn(s, generator=draw, device=device, dtype=dtype) for s in shapes)
    real = (batch.group_ids >= 0)[:, :, None, None]  # what stands at padding matters to nothing
    weight = weight * real.transpose(1, 2)
    module = SimpleNamespace(training=True, num_key_value_groups=heads // keys, is_causal=True)
    allowed = ALLOWED[dtype in HALF][0]
    for kind, mask in made.items() if isinstance(made, dict) else [("", made)]:
        row = [tensor[:1].detach().float() for tensor in inputs]
        with torch.autocast(device.type, enabled=False):
            got = _with_gradients(ALL_ATTENTION_FUNCTIONS[kernel], module, inputs, mask, weight)
            seen: Any = dense[kind] if isinstance(dense, dict) else dense
            exact = _with_gradients(sdpa_attention_forward, module, row, seen, weight[:1].float())
        got[0], exact[0] = got[0] * real, exact[0] * real[:1]
        for name, one, other in zip(("output", "dq", "dk", "dv"), got, exact, strict=False):
            off = float((one[:1].float() - other).norm() / other.norm())
            if not off <= allowed:  # NaN too
                return f"its {name} is {off:.1e} from that of SDPA in float32 (allowed {allowed})"
    return None


def _with_gradients(function: Any, module: Any, inputs: list[Tensor], mask: Any, weight: Tensor) -> list[Tensor]:
    """[output [B, S, heads, D]], and the gradients of (output * weight).sum() where gradients are on."""
    scaling = inputs[0].shape[-1] ** -0.5
    if not torch.is_grad_enabled():
        return [function(module, *inputs, mask, scaling=scaling)[0]]
    leaves = [tensor.requires_grad_() for tensor in inputs]
    output = function(module, *leaves, mask, scaling=scaling)[0]
    return [output.detach(), *torch.autograd.grad(output, leaves, weight.transpose(1, 2))]


def rows_fault(scorer: "ResponseScorer", batch: PackedBatch) -> str | None:
    """The first group's responses by the scorer, against plain rows; not when sharded, where all must compute alike."""
    if isinstance(scorer, FSDPModule):
        return None
    modes, count = [(module, module.training) for module in scorer.modules()], int((batch.response_group == 0).sum())
    group = replace(batch, response_group=batch.response_group[:count], weights=batch.weights[:1])
    scorer.eval()  # dropout would part the two
    try:
        with torch.no_grad():
            got = scorer(batch)[:count]
            scorer.model.set_attn_implementation("sdpa" if scorer.model._supports_sdpa else "eager")
            wanted = scorer.plain()(group)
    finally:
        for module, training in modes:
            module.training = training
    scale = batch.lengths[:count] if scorer.sums else wanted.abs().clamp(min=1.0)
    off = float(((got - wanted).abs() / scale).max())
    allowed = ALLOWED[scorer.dtype(batch.input_ids.device.type) in HALF][1]
    return None if off <= allowed else f"packed and plain rows are {off:.1e} apart (allowed {allowed})"
