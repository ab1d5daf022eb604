"""FSDP2: the whole scorer under fully_shard, decoder layer by decoder layer."""

from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

from tuna.errors import ConfigError

# Trained weights are float32 always; this is what layers compute in. Gradients are reduced in float32.
COMPUTE: dict[str, torch.dtype | None] = {"32-true": None, "bf16-mixed": torch.bfloat16}


def shard(
    scorer: nn.Module, mesh: DeviceMesh, *, precision: str = "32-true", checkpoint_activations: bool = False
) -> None:
    """Shard ``scorer`` in place over the one-dimensional ``mesh``; each process then holds 1/n of every parameter.

    precision: "32-true", or "bf16-mixed" to compute in bfloat16; any other is a ConfigError. checkpoint_activations:
    recompute each layer's activations in the backward pass.
    """
    if precision not in COMPUTE:
        raise ConfigError(f"precision: expected {' or '.join(COMPUTE)} when sharded, got {precision!r}")
    model: Any = scorer.model
    if checkpoint_activations:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    policy = MixedPrecisionPolicy(param_dtype=COMPUTE[precision], reduce_dtype=torch.float32)
    for layer in decoder_layers(model):
        fully_shard(layer, mesh=mesh, mp_policy=policy, reshard_after_forward=True)
    # What is in no layer (embeddings, last norm, head) belongs to the root, whose forward uses all of it.
    fully_shard(scorer, mesh=mesh, mp_policy=policy, reshard_after_forward=True)


def decoder_layers(model: Any) -> list[nn.Module]:
    """The model's repeated layers: the outermost module list that is as long as the config says."""
    count = model.config.get_text_config().num_hidden_layers
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return list(module)
    raise ConfigError(f"{type(model).__name__}: no list of {count} layers to shard; train it without trainer=fsdp")
