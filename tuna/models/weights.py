"""Reading weights, and what can be wrong with them: they are not the config's, or are no numbers."""

import logging
import re
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from tuna.errors import ModelError
from tuna.models.check import quiet
from tuna.models.folder import explain, stored_tensors
from tuna.models.quantized import nf4
from tuna.models.reward import has_reward_head, head_names, refuse_reward_model
from tuna.models.shards import compute_buffers, tied_twice
from tuna.models.source import ModelConfig

log = logging.getLogger("tuna")
# Heads that a model of another kind has on the same backbone, and tables that are computed.
HARMLESS = re.compile(
    r"(^|\.)(lm_head|embed_out|score|classifier|v_head|value_head|reward_head|rm_head)\.|"
    r"(^|\.)(inv_freq|masked_bias|attn\.bias|attention\.bias|position_ids)$"
)
_NEXT = "; give the config.json that was saved with these weights"


def check_weights(model: ModelConfig, *, reward: bool = False) -> None:
    """Refuse, by a ModelError and without reading weights, those that are not the config's.

    reward: expect a reward model, of which the head may be missing in a causal language model; else one is refused.
    """
    resolved = model.resolve()
    if not reward:
        refuse_reward_model(resolved)
    if reward in resolved.checked:  # train.py asks first and loads later
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
    read(model, reward=reward, meta=True)
    resolved.checked.add(reward)


def read(
    model: ModelConfig, *, reward: bool, meta: bool = False, dtype: torch.dtype = torch.float32
) -> tuple[Any, list[str]]:
    """The Hugging Face model with the folder's weights, and the names of those that the folder need not have.

    reward: build a sequence-classification model with one label, whose head may be missing where the folder holds a
    causal language model. meta: read names and shapes alone. ModelError where weights and config differ or are unsound.
    """
    auto: Any = AutoModelForSequenceClassification if reward else AutoModelForCausalLM  # typed without loading info
    resolved, given = model.resolve(), dict[str, Any](num_labels=1) if reward else {}
    given |= {"device_map": "meta", "ignore_mismatched_sizes": True} if meta else {}
    if model.quantize and not meta:
        given |= {"quantization_config": nf4(), "device_map": {"": "cpu"}}
    try:
        # It would report a head that is missing, and the language model's as left over.
        with quiet() if reward or meta else nullcontext():
            built, info = auto.from_pretrained(
                resolved.weights_folder, dtype=dtype, use_safetensors=True, trust_remote_code=model.trust_remote_code,
                output_loading_info=True, **given,
            )  # fmt: skip
    except Exception as error:
        failed = "build a model of its config.json" if meta else f"load it with {auto.__name__}"
        hint = _NEXT if meta else ""
        raise ModelError(f"{resolved.source}: transformers cannot {failed} ({explain(error)}){hint}") from error
    fresh = head_names(built) if reward and not has_reward_head(resolved.config) else []
    other = [f"{name} {list(held)} in place of {list(wanted)}" for name, held, wanted in info["mismatched_keys"]]
    missing = set(info["missing_keys"]) - set(fresh)
    surplus = {name for name in info["unexpected_keys"] if not HARMLESS.search(name)}
    for names, told in (  # what transformers would do in silence
        (other, "the weights have other shapes than config.json says: {}"),
        (missing, "the weights lack {}; transformers would fill them with noise"),
        (surplus, "config.json has no place for {}; transformers would leave out these weights"),
    ):
        if names:
            raise ModelError(f"{resolved.source}: {told.format(first_of(sorted(names), 3))}{_NEXT}")
    if not meta:
        refuse_not_finite(resolved.source, ((n, p) for n, p in built.named_parameters() if n not in fresh))
    return built, fresh


def read_blank(model: ModelConfig, *, reward: bool, dtype: torch.dtype = torch.float32) -> tuple[Any, list[str]]:
    """As ``read``, but with the weights on the meta device, for ``tuna.models.shards.fill``; buffers have their values.

    Read whole, as ``read`` does, are quantized weights, and tied ones that the files hold twice.
    """
    blank, fresh = read(model, reward=reward, meta=True, dtype=dtype)
    quantized = getattr(blank.config, "quantization_config", None) is not None
    if quantized or tied_twice(blank):
        why = "its weights are quantized" if quantized else "its files hold both of two tied weights"
        log.info(f"{model.resolve().source}: {why}, so each process reads it whole before it keeps its share")
        return read(model, reward=reward, dtype=dtype)
    compute_buffers(blank)
    return blank, fresh


def refuse_not_finite(source: str, named: Iterable[tuple[str, Tensor]]) -> None:
    """Raises ModelError where a weight that was read holds NaN or infinity; of sharded ones every process calls it."""
    if bad := not_finite(named):
        raise ModelError(
            f"{source}: the weights hold NaN or infinity ({first_of(bad)}), so nothing can be computed with them; "
            "choose another model, or fetch or make this one again"
        )


def first_of(names: Sequence[str], most: int = 1) -> str:
    """The first names, and how many more there are.

    >>> first_of(["a", "b", "c"])
    'a and 2 more'
    """
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def not_finite(named: Iterable[tuple[str, Tensor]]) -> list[str]:
    """Names of the tensors that hold NaN or infinity. Of sharded ones every process calls it and gets the same names.

    >>> not_finite([("a", torch.tensor([1.0, torch.inf])), ("b", torch.ones(2))])
    ['a']
    """
    names, flags, sharded = [], [], False
    for name, tensor in named:
        part = tensor.detach()
        if isinstance(part, DTensor):
            sharded, part = True, part.to_local()
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
