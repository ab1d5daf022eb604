"""Activation checkpointing: which layers, or which results in them, are computed anew in the backward pass."""

from functools import partial
from typing import Any, Literal

import torch
from torch import nn
from torch.utils.checkpoint import create_selective_checkpoint_contexts
from transformers.modeling_layers import GradientCheckpointingLayer

from tuna.errors import ConfigError

Checkpointing = bool | float | Literal["selective"]
_ATEN = torch.ops.aten
# Kept by "selective", in the type of the layer: what costs most to compute. The rest is elementwise, or copies.
KEPT = [
    _ATEN.mm.default, _ATEN.addmm.default, _ATEN.bmm.default, _ATEN.baddbmm.default, _ATEN._grouped_mm.default,
    _ATEN._scaled_dot_product_flash_attention.default, _ATEN._scaled_dot_product_efficient_attention.default,
    _ATEN._scaled_dot_product_cudnn_attention.default, _ATEN._scaled_dot_product_flash_attention_for_cpu.default,
    torch.ops.higher_order.flex_attention,
]  # fmt: skip


def chosen(share: float, layers: int) -> list[bool]:
    """Which of so many layers are checkpointed for a share of them, evenly spread.

    >>> chosen(0.5, 4), chosen(0.75, 4)
    ([False, True, False, True], [False, True, True, True])
    """
    return [int((layer + 1) * share) > int(layer * share) for layer in range(layers)]


def checkpoint_layers(model: Any, how: Checkpointing) -> None:
    """Have the layers of ``model`` keep less of a forward pass: results and gradients are the same.

    how: True keeps what each layer reads alone; a share between 0 and 1 does so in that share of the layers;
    "selective" keeps, in every layer, the results of matrix products and of attention too. False changes nothing.
    Raises: ConfigError where the model's class cannot.
    """
    if how is False:
        return
    settings: dict[str, Any] = {"use_reentrant": False}
    if how == "selective":
        settings["context_fn"] = partial(create_selective_checkpoint_contexts, KEPT)
    try:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=settings)
    except ValueError as error:
        raise ConfigError(f"trainer.activation_checkpointing: {' '.join(str(error).split())}") from error
    if how is True or how == "selective":
        return
    layers = decoder_layers(model)
    if not all(isinstance(layer, GradientCheckpointingLayer) for layer in layers):
        raise ConfigError(
            f"trainer.activation_checkpointing: the layers of {type(model).__name__} are checkpointed all or none; "
            "next: trainer.activation_checkpointing=true"
        )
    for layer, anew in zip(layers, chosen(float(how), len(layers)), strict=True):
        setattr(layer, "gradient_checkpointing", anew)  # noqa: B010


def decoder_layers(model: Any) -> list[nn.Module]:
    """The model's repeated layers: the outermost module list that is as long as the config says."""
    count = model.config.get_text_config().num_hidden_layers
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return list(module)
    raise ConfigError(
        f"{type(model).__name__}: no list of {count} layers, so it can neither be sharded nor a share of its layers "
        "be checkpointed; next: trainer=cpu or trainer=gpu, with trainer.activation_checkpointing true or false"
    )
