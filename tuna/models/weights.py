"""What can be wrong with weights: they are not those of the config, or they, and what comes of them, are no numbers."""

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from tuna.errors import ModelError
from tuna.models.check import quiet
from tuna.models.folder import explain, stored_tensors
from tuna.models.reward import has_reward_head, head_names, refuse_reward_model
from tuna.models.source import ModelConfig, Resolved

# Heads that a model of another kind has on the same backbone, and tables that are computed.
HARMLESS = re.compile(
    r"(^|\.)(lm_head|embed_out|score|classifier|v_head|value_head|reward_head|rm_head)\.|"
    r"(^|\.)(inv_freq|masked_bias|attn\.bias|attention\.bias|position_ids)$"
)
_NEXT = "; give the config.json that was saved with these weights"


def check_causal_weights(model: ModelConfig, resolved: Resolved) -> None:
    """Refuse, by a ModelError and without reading weights, a reward model, and weights that are not the config's."""
    refuse_reward_model(resolved)
    _check_weights(model, resolved, reward=False)


def check_reward_weights(model: ModelConfig, resolved: Resolved) -> None:
    """The same for a reward model; of a causal language model the head may be missing."""
    _check_weights(model, resolved, reward=True)


def _check_weights(model: ModelConfig, resolved: Resolved, reward: bool) -> None:
    """Load the model onto a device that holds nothing; once, since train.py asks first and loads later."""
    if reward in resolved.checked:
        return
    folder = resolved.weights_folder
    layers, stored = resolved.config.get_text_config().num_hidden_layers, stored_tensors(folder)
    if layers > len(stored):  # to build it would take minutes
        raise ModelError(f"{folder}: config.json has {layers} layers, the weights are {len(stored)} tensors{_NEXT}")
    if getattr(resolved.config, "quantization_config", None) is not None:
        return  # the weights' names and shapes are the quantizer's
    if whole := [n for n, (dtype, _) in stored.items() if re.match("I|U|BOOL", dtype) and n.endswith("weight")]:
        raise ModelError(
            f"{folder}: {whole[0]} holds whole numbers, as of a quantized model, but config.json has no "
            f"quantization_config{_NEXT}"
        )
    read(model, resolved, reward=reward, meta=True)
    resolved.checked.add(reward)


def read(
    model: ModelConfig, resolved: Resolved, *, reward: bool, meta: bool = False, dtype: torch.dtype = torch.float32
) -> tuple[Any, list[str]]:
    """The Hugging Face model with the folder's weights, and the names of those that the folder need not have.

    Args:
        model: the config node, which resolves to ``resolved``.
        resolved: where the weights are.
        reward: build a sequence-classification model with one label, whose head may be missing where the folder holds a
            causal language model; else that language model.
        meta: read names and shapes alone.
        dtype: of the weights in memory.

    Raises:
        ModelError: transformers cannot build the model; weights have other shapes than the config says, are missing,
            have no place in the model, or are no numbers.
    """
    auto: Any = AutoModelForSequenceClassification if reward else AutoModelForCausalLM  # typed without loading info
    given: dict[str, Any] = {"num_labels": 1} if reward else {}
    given |= {"device_map": "meta", "ignore_mismatched_sizes": True} if meta else {}
    try:
        # It would report a head that is missing, and the language model's as left over.
        with quiet() if reward or meta else nullcontext():
            built, info = auto.from_pretrained(
                resolved.weights_folder,
                dtype=dtype,
                use_safetensors=True,
                trust_remote_code=model.trust_remote_code,
                output_loading_info=True,
                **given,
            )
    except Exception as error:
        failed = "build a model of its config.json" if meta else f"load it with {auto.__name__}"
        hint = _NEXT if meta else ""
        raise ModelError(f"{resolved.source}: transformers cannot {failed} ({explain(error)}){hint}") from error
    fresh = head_names(built) if reward and not has_reward_head(resolved.config) else []
    _refuse_misfit(resolved.source, info, fresh)
    if not meta and (bad := not_finite((n, p) for n, p in built.named_parameters() if n not in fresh)):
        more = f" and {len(bad) - 1} more tensors" if len(bad) > 1 else ""
        raise ModelError(
            f"{resolved.source}: the weights hold NaN or infinity ({bad[0]}{more}), so nothing can be computed with "
            "them; choose another model, or fetch or make this one again"
        )
    return built, fresh


def _refuse_misfit(source: str, info: Mapping[str, Any], fresh: Sequence[str]) -> None:
    """Refuse what transformers would do in silence, by its loading info."""
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


def not_finite(named: Iterable[tuple[str, Tensor]]) -> list[str]:
    """Names of the tensors that hold NaN or infinity. Of sharded ones every process calls it and gets the same names.

    >>> not_finite([("a", torch.tensor([1.0, torch.inf])), ("b", torch.ones(2))])
    ['a']
    """
    names, flags, sharded = [], [], False
    for name, tensor in named:
        local: Any = getattr(tensor, "to_local", None)
        sharded = sharded or local is not None
        part = tensor.detach() if local is None else local().detach()
        if part.dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
            names.append(name)
            ends = torch.stack(torch.aminmax(part)) if part.numel() else part.new_zeros(1)
            flags.append(ends.isfinite().all())
    if not names:
        return []
    bad = torch.stack(flags).logical_not().float()
    if sharded:
        dist.all_reduce(bad)
    return [name for name, flag in zip(names, bad.tolist(), strict=True) if flag]


def check_values(values: Sequence[float], source: str, what: str) -> None:
    """Raises ModelError where ``what`` the model of ``source`` computed is NaN or infinity."""
    bad = [value for value in values if value - value != 0]  # NaN and infinity alone
    if bad:
        raise ModelError(
            f"{source}: expected finite {what}, got {bad[0]} ({len(bad)} of {len(values)} in this batch); its weights "
            "are finite, so its numbers overflow: choose dtype=float32 where there is that key, or another model"
        )
