"""LoRA by ``model.lora=...``: which keys it takes, and putting it into a model; tuna.models.merging takes it out again.

Hu et al., LoRA (arXiv 2106.09685): W' = W + (alpha / r) B A, with A [r, in] and B [out, r] trained and W frozen.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

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


def peft_config(lora: Lora, trained: Sequence[str] = ()) -> Any:
    """The same as peft's LoraConfig; ``trained``: names of the parameters that train in full, a reward head's."""
    from peft import LoraConfig

    modules = lora.target_modules if isinstance(lora.target_modules, str) else list(lora.target_modules)
    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.scaling * lora.r,  # type: ignore[arg-type]  # peft divides it, whole or not
        lora_dropout=lora.dropout,
        target_modules=modules,
        task_type="SEQ_CLS" if trained else "CAUSAL_LM",
    )


def add_lora(model: Any, lora: Lora, *, trained: Sequence[str] = ()) -> None:
    """Put adapters into ``model`` in place; only they, and the parameters named in ``trained``, train afterwards.

    Raises:
        ModelError: ``target_modules`` names no layer of this model.
    """
    try:
        model.add_adapter(peft_config(lora, trained), adapter_name=ADAPTER)
    except ValueError as error:
        raise ModelError(f"model.lora.target_modules: {' '.join(str(error).split())}") from error
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name or name in trained)
        if "lora_" in name:
            parameter.data = parameter.data.float()
