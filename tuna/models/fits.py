"""Whether a folder's weights are those of its config: names and shapes, compared without reading a weight."""

import re
from collections.abc import Collection, Mapping
from typing import Any

import torch

from tuna.errors import ModelError
from tuna.models.check import quiet
from tuna.models.folder import explain, integer_weights, tensor_shapes
from tuna.models.reward import head_names
from tuna.models.source import ModelConfig, Resolved

# Heads that a model of another kind has on the same backbone, and tables that are computed.
HARMLESS = re.compile(
    r"(^|\.)(lm_head|embed_out|score|classifier|v_head|value_head|reward_head|rm_head)\.|"
    r"(^|\.)(inv_freq|masked_bias|attn\.bias|attention\.bias|position_ids)$"
)
_NEXT = "; give the config.json that was saved with these weights"


def check_weights(model: ModelConfig, resolved: Resolved, auto: Any, *, fresh_head: bool = False, **given: Any) -> None:
    """Load the model onto a device that holds nothing, and refuse weights that are not those of the config.

    Args:
        model: the config node.
        resolved: what it resolves to; of a hub id the weights are downloaded.
        auto: the Auto class that builds it.
        fresh_head: weights outside of the backbone may be missing.
        given: what else it is loaded with.

    Raises:
        ModelError: see ``refuse_misfit``; or transformers cannot build a model of this config.
    """
    folder = resolved.weights_folder
    layers, stored = resolved.config.get_text_config().num_hidden_layers, len(tensor_shapes(folder))
    if layers > stored:  # to build it would take minutes
        raise ModelError(f"{folder}: config.json has {layers} layers, the weights are {stored} tensors{_NEXT}")
    if getattr(resolved.config, "quantization_config", None) is not None:
        return  # the weights' names and shapes are the quantizer's
    if whole := integer_weights(folder):
        raise ModelError(
            f"{folder}: {whole[0]} holds whole numbers, as of a quantized model, but config.json has no "
            f"quantization_config{_NEXT}"
        )
    try:
        with quiet():
            built, info = auto.from_pretrained(
                folder,
                device_map="meta",
                dtype=torch.float32,
                use_safetensors=True,
                ignore_mismatched_sizes=True,
                trust_remote_code=model.trust_remote_code,
                output_loading_info=True,
                **given,
            )
    except Exception as error:
        raise ModelError(
            f"{folder}: transformers cannot build a model of its config.json ({explain(error)}){_NEXT}"
        ) from error
    refuse_misfit(resolved.source, info, head_names(built) if fresh_head else ())


def refuse_misfit(source: str, info: Mapping[str, Any], fresh: Collection[str] = ()) -> None:
    """Refuse what transformers would do in silence.

    Args:
        source: the model's folder or hub id.
        info: transformers' loading info.
        fresh: names that may be missing.

    Raises:
        ModelError: names weights of other shapes than the config says, weights that are missing, and weights that the
            model has no place for.
    """
    other = [f"{name} {list(held)} in place of {list(wanted)}" for name, held, wanted in info["mismatched_keys"]]
    missing = set(info["missing_keys"]) - set(fresh)
    surplus = {name for name in info["unexpected_keys"] if not HARMLESS.search(name)}
    for names, told in (
        (other, "the weights have other shapes than config.json says: {}"),
        (missing, "the weights lack {}; transformers would fill them with noise"),
        (surplus, "config.json has no place for {}; transformers would leave out these weights"),
    ):
        if names:
            shown = ", ".join(sorted(names)[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            raise ModelError(f"{source}: {told.format(shown)}{_NEXT}")
