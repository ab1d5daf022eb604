"""LoRA by ``model.lora=...``: which keys it takes, putting it into a model, and merging it into the weights.

Hu et al., LoRA (arXiv 2106.09685): W' = W + (alpha / r) B A, with A [r, in] and B [out, r] trained and W frozen.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt, Interval, MinLen
from torch import Tensor, nn

from tuna.config.types import checked
from tuna.console import nearest
from tuna.errors import ConfigError, ModelError

ADAPTER = "default"  # peft's name of the one adapter
Fetch = Callable[[], Tensor | None]  # a tensor when it is needed; None on processes other than 0


@checked
@dataclass(frozen=True, slots=True)
class Lora:
    """What ``model.lora`` says. ``model.lora=8`` is short for ``{r: 8}``, ``true`` for all defaults.

    r: rank. alpha: the update is scaled by alpha / r (null: 2 r). dropout: of an adapter's input, from 0 to below 1.
    target_modules: "all-linear" (every linear layer but the output projection), or names of linear layers and
    embeddings, whole or from a dot on ([q_proj, v_proj]); any other string is a regular expression of whole names.
    Raises: ConfigError where a value is out of its range.
    """

    r: Annotated[int, Ge(1)] = 8
    alpha: Annotated[float, Gt(0)] | None = None
    dropout: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    target_modules: Annotated[str, MinLen(1)] | Annotated[tuple[str, ...], MinLen(1)] = "all-linear"


def parse_lora(value: Mapping[str, Any] | int | None) -> Lora | None:
    """The config value as a Lora, None where LoRA is off; a ConfigError names all that is wrong.

    >>> parse_lora(4).r, parse_lora(True).r, parse_lora(None)
    (4, 8, None)
    """
    if value is None or value is False:
        return None
    if isinstance(value, int):
        value = {} if value is True else {"r": value}
    keys = [field.name for field in fields(Lora)]
    wrong = [
        f"lora.{key}: expected one of {', '.join(keys)}, got {key!r}{nearest('r' if key == 'rank' else str(key), keys)}"
        for key in value
        if key not in keys
    ]
    given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in value.items() if k in keys}
    try:
        lora = Lora(**given)
    except ConfigError as error:
        wrong += [f"lora.{line}" for line in str(error).split("\n")]
    if wrong:
        raise ConfigError("\n".join(wrong))
    return lora


def add_lora(model: Any, lora: Lora, *, trained: Sequence[str] = ()) -> None:
    """Put adapters into ``model`` in place; only they, and the parameters named in ``trained``, train afterwards.

    Raises: ModelError where ``lora.target_modules`` names no layer of the model.
    """
    from peft import LoraConfig

    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha or 2 * lora.r,  # type: ignore[arg-type]  # peft divides it, whole or not
        lora_dropout=lora.dropout,
        target_modules=lora.target_modules if isinstance(lora.target_modules, str) else list(lora.target_modules),
        task_type="SEQ_CLS" if trained else "CAUSAL_LM",
    )
    try:
        model.add_adapter(config, adapter_name=ADAPTER)
    except ValueError as error:
        raise ModelError(f"model.lora.target_modules: {' '.join(str(error).split())}") from error
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name or name in trained)
        if "lora_" in name:
            parameter.data = parameter.data.float()


def draw_adapters(model: Any) -> None:
    """Draw the adapters of ``model`` anew, the same for the same state of torch's generator wherever its weights lie.

    peft puts the adapters of a model on the meta device there too; these are given memory on the CPU.
    """
    from peft.tuners.lora import LoraLayer

    for name, parameter in list(model.named_parameters()):
        if "lora_" in name and parameter.is_meta:
            owner, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(owner), leaf, nn.Parameter(torch.empty_like(parameter, device="cpu")))
    for module in model.modules():
        if isinstance(module, LoraLayer):
            module.reset_lora_parameters(ADAPTER, True)


def merge(model: Any, state: Mapping[str, Fetch]) -> tuple[dict[str, Fetch], frozenset[str]]:
    """Merge adapters into the weights that they belong to: W + (alpha / r) B A, when a weight is asked for.

    state: of ``model``, with all shared names. Returns: the plain model's state dict, in which merged tensors are
    float32, and the names of those. Raises: ModelError where an adapter's tensor would be left over, or a layer's kind
    of adapter cannot be merged here.
    """
    from peft.tuners.lora import Embedding, Linear
    from peft.tuners.tuners_utils import BaseTunerLayer

    plain = {name.replace(".base_layer.", "."): fetch for name, fetch in state.items() if ".lora_" not in name}
    used, merged = set[str](), set[str]()
    for name, module in model.named_modules():
        if not isinstance(module, BaseTunerLayer):
            continue
        if type(module) is Linear or type(module).__name__ == "Linear4bit":  # peft has it with bitsandbytes alone
            down, up = f"{name}.lora_A.{ADAPTER}.weight", f"{name}.lora_B.{ADAPTER}.weight"
            flipped = bool(getattr(module, "fan_in_fan_out", False))  # GPT-2's Conv1D stores its weight [in, out]
        elif type(module) is Embedding:
            down, up = f"{name}.lora_embedding_A.{ADAPTER}", f"{name}.lora_embedding_B.{ADAPTER}"
            flipped = True  # [vocabulary, H], and B A is [H, vocabulary]
        else:
            raise ModelError(f"{name}: an adapter of kind {type(module).__name__}, which cannot be merged")
        weight = f"{name}.weight"
        plain[weight] = partial(_merged, plain[weight], state[down], state[up], module.scaling[ADAPTER], flipped)
        used |= {up, down}
        merged.add(weight)
    left = sorted(name for name in state if ".lora_" in name and name not in used)
    if left:
        raise ModelError(f"adapter tensors that belong to no layer that can be merged: {', '.join(left[:3])}")
    return plain, frozenset(merged)


def _merged(weight: Fetch, down: Fetch, up: Fetch, scaling: float, flipped: bool) -> Tensor | None:
    whole, a, b = weight(), down(), up()
    if whole is None or a is None or b is None:
        return None
    update = scaling * (b.float() @ a.float())
    return whole.float() + (update.T if flipped else update)


def rebuilt(model: Any, dtype: torch.dtype, *, merged: frozenset[str], device: str = "meta") -> Any:
    """A fresh model of the class of ``model`` without its weights: names and tied set are transformers'.

    Weights that were tied and of which one was merged differ, so the fresh model's config ties none; ModelError where
    they stay tied. merged: what ``merge`` says. device: "meta" is enough to see what there is to save.
    """
    config = copy.deepcopy(model.config)
    config.dtype = dtype
    config.__dict__.pop("quantization_config", None)  # what a run quantizes is exported as the numbers it stands for
    if not merged.isdisjoint(_names(model.all_tied_weights_keys)):
        config.tie_word_embeddings = config.get_text_config().tie_word_embeddings = False
    with torch.device(device):
        fresh = type(model)._from_config(config)
    if stuck := merged & _names(fresh.all_tied_weights_keys):
        raise ModelError(f"{type(model).__name__} cannot untie {', '.join(sorted(stuck))}")
    return fresh


def _names(tied: Mapping[str, str]) -> frozenset[str]:
    return frozenset(tied) | frozenset(tied.values())
