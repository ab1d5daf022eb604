"""LoRA by ``model.lora=...``: which keys it takes, putting it into a model, and merging it into the weights.

Hu et al., LoRA (arXiv 2106.09685): W' = W + (alpha / r) B A, with A [r, in] and B [out, r] trained and W frozen.
"""

import copy
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from tuna.errors import ConfigError, ModelError

ADAPTER = "default"  # peft's name of the one adapter


@dataclass(frozen=True, slots=True)
class Lora:
    """What ``model.lora`` says. ``model.lora=8`` is short for ``{r: 8}``, ``true`` for all defaults.

    r: rank, >= 1. alpha: > 0, the update is scaled by alpha / r (null: 2 r). dropout: in [0, 1).
    target_modules: "all-linear" (every linear layer but the output projection), or names of linear layers and
    embeddings, whole or from a dot on ([q_proj, v_proj]); a string otherwise is a regular expression of whole names.
    """

    r: int = 8
    alpha: float | None = None
    dropout: float = 0.0
    target_modules: str | tuple[str, ...] = "all-linear"

    @property
    def scaling(self) -> float:
        """alpha / r."""
        return (2.0 * self.r if self.alpha is None else self.alpha) / self.r


def parse_lora(value: Any) -> Lora | None:
    """The config value as a Lora, None where LoRA is off.

    Raises:
        ConfigError: an unknown key (with the nearest) or a value out of its range; all faults at once.

    >>> parse_lora(4).r, parse_lora(True).r, parse_lora(None)
    (4, 8, None)
    """
    if value is None or value is False:
        return None
    if value is True:
        return Lora()
    if isinstance(value, int):
        value = {"r": value}
    if isinstance(value, Lora):
        value = asdict(value)
    if not isinstance(value, Mapping):
        raise ConfigError(f"model.lora: expected null, true, a rank, or keys {', '.join(_KEYS)}, got {value!r}")
    wrong = [f"model.lora.{key}: unknown key{_nearest(str(key))}" for key in value if key not in _KEYS]
    given = {key: item for key, item in value.items() if key in _KEYS}
    rank, alpha, dropout = given.get("r", 8), given.get("alpha"), given.get("dropout", 0.0)
    if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
        wrong.append(f"model.lora.r: expected a whole number >= 1, got {rank!r}")
    if alpha is not None and not (isinstance(alpha, int | float) and alpha > 0):
        wrong.append(f"model.lora.alpha: expected a number > 0 or null, got {alpha!r}")
    if not (isinstance(dropout, int | float) and 0 <= dropout < 1):
        wrong.append(f"model.lora.dropout: expected a number in [0, 1), got {dropout!r}")
    modules = given.get("target_modules", "all-linear")
    if isinstance(modules, Sequence) and not isinstance(modules, str) and modules:
        given["target_modules"] = tuple(str(name) for name in modules)
    elif not isinstance(modules, str) or not modules:
        wrong.append(f"model.lora.target_modules: expected all-linear or a list of module names, got {modules!r}")
    if wrong:
        raise ConfigError("\n".join(wrong))
    return Lora(**given)


_KEYS = ("r", "alpha", "dropout", "target_modules")


def _nearest(key: str) -> str:
    near = difflib.get_close_matches({"rank": "r"}.get(key, key), _KEYS, n=1, cutoff=0.5)
    return f", did you mean {near[0]}? (allowed: {', '.join(_KEYS)})" if near else f" (allowed: {', '.join(_KEYS)})"


def add_lora(model: Any, lora: Lora, *, trained: Sequence[str] = ()) -> None:
    """Put adapters into ``model`` in place; only they, and the parameters named in ``trained``, train afterwards.

    trained: a reward head's.

    Raises:
        ModelError: ``target_modules`` names no layer of this model.
    """
    from peft import LoraConfig

    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.scaling * lora.r,  # type: ignore[arg-type]  # peft divides it, whole or not
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


def with_shared_names(model: Any, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict with every name of a tensor that has several, of which a sharded one has only one."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    whole = dict(state)
    for group in names.values():
        known = next((name for name in group if name in state), None)
        if known is not None:
            whole |= dict.fromkeys(group, state[known])
    return whole


def merge(model: Any, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], frozenset[str]]:
    """A state dict with adapters -> that of the plain model, W + alpha / r * B A, under the plain names.

    Args:
        model: where ``state`` comes from; it says which layers have an adapter, and of which kind.
        state: whole, and with all shared names.

    Returns:
        The plain state dict in which merged tensors are float32, and the names of the merged ones.

    Raises:
        ModelError: an adapter's tensor would be left over, or a layer's kind of adapter cannot be merged here.
    """
    from peft.tuners.lora import Embedding, Linear
    from peft.tuners.tuners_utils import BaseTunerLayer

    plain = {name.replace(".base_layer.", "."): tensor for name, tensor in state.items() if ".lora_" not in name}
    used, merged = set(), set()
    for name, module in model.named_modules():
        if not isinstance(module, BaseTunerLayer):
            continue
        if type(module) is Linear:
            down, up = f"{name}.lora_A.{ADAPTER}.weight", f"{name}.lora_B.{ADAPTER}.weight"
            flipped = bool(module.fan_in_fan_out)  # GPT-2's Conv1D stores its weight [in, out]
        elif type(module) is Embedding:
            down, up = f"{name}.lora_embedding_A.{ADAPTER}", f"{name}.lora_embedding_B.{ADAPTER}"
            flipped = True  # [vocabulary, H], and B A is [H, vocabulary]
        else:
            raise ModelError(f"{name}: an adapter of kind {type(module).__name__}, which cannot be merged")
        update = module.scaling[ADAPTER] * (state[up].float() @ state[down].float())
        weight = f"{name}.weight"
        plain[weight] = plain[weight].float() + (update.T if flipped else update)
        used |= {up, down}
        merged.add(weight)
    left = sorted(name for name in state if ".lora_" in name and name not in used)
    if left:
        raise ModelError(f"adapter tensors that belong to no layer that can be merged: {', '.join(left[:3])}")
    return plain, frozenset(merged)


def adapter_state(state: Mapping[str, Tensor], whole: Sequence[str] = ()) -> dict[str, Tensor]:
    """Only the adapters' tensors and those in ``whole``, under the names of peft's adapter_model.safetensors."""
    return {
        "base_model.model." + name.removesuffix(f".{ADAPTER}").replace(f".{ADAPTER}.", "."): tensor
        for name, tensor in state.items()
        if ".lora_" in name or name in whole
    }


def embedding_names(model: Any, state: Mapping[str, Tensor]) -> list[str]:
    """Names of the embedding's and the head's own tensors, without their adapters'."""
    ends = [module for module in (model.get_input_embeddings(), model.get_output_embeddings()) if module is not None]
    prefixes = tuple(f"{name}." for name, module in model.named_modules() if any(module is end for end in ends))
    return [name for name in state if name.startswith(prefixes) and ".lora_" not in name]


def rebuilt(
    model: Any,
    state: Mapping[str, Tensor],
    dtype: torch.dtype,
    *,
    merged: frozenset[str] = frozenset(),
    device: str = "meta",
) -> Any:
    """A fresh model of the class of ``model`` with the weights of ``state``, names and tied set being transformers'.

    Weights that were tied and of which one was merged differ, so the fresh model's config ties none.

    Args:
        model: the model, with or without adapters.
        state: plain, with all shared names.
        dtype: of floating-point weights.
        merged: what ``merge`` says.
        device: where buffers lie that no state dict has; "meta" is enough to save it.

    Raises:
        ModelError: a weight of the class has no value, one of ``state`` has no place, or weights stay tied that differ.
    """
    config = copy.deepcopy(model.config)
    config.dtype = dtype
    if not merged.isdisjoint(_names(model.all_tied_weights_keys)):
        config.tie_word_embeddings = config.get_text_config().tie_word_embeddings = False
    with torch.device(device):
        fresh = type(model)._from_config(config)
    if stuck := merged & _names(fresh.all_tied_weights_keys):
        raise ModelError(f"{type(model).__name__} cannot untie {', '.join(sorted(stuck))}")
    cast = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    for target, source in fresh.all_tied_weights_keys.items():
        cast[target] = cast[source]
    fresh.load_state_dict(cast, strict=False, assign=True)
    fresh.tie_weights()
    empty = sorted(set(fresh.state_dict()) - set(cast))
    unknown = sorted(set(cast) - set(fresh.state_dict()))
    if empty or unknown:
        raise ModelError(f"export: weights without a value {empty[:3]}, without a place {unknown[:3]}")
    return fresh


def _names(tied: Mapping[str, str]) -> frozenset[str]:
    return frozenset(tied) | frozenset(tied.values())
