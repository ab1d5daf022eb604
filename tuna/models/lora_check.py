"""Whether ``model.lora`` fits a model, said from its config: the modules' names, and that merging gives what trained.

As for packing, no list of model names decides: a small random copy gets random adapters, is merged as the export does
it, and must still compute the same.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig
from transformers.pytorch_utils import Conv1D

from tuna.errors import ModelError
from tuna.models.check import LOGPROBS, REWARDS, TOLERANCE, Ways, quiet, small_copy
from tuna.models.lora import Lora, add_lora, merge, rebuilt, with_shared_names
from tuna.models.reward import head_names

KEY = "model.lora.target_modules"
FIT = (nn.Linear, Conv1D, nn.Embedding)


def check_lora(config: PretrainedConfig, lora: Lora, *, trust_remote_code: bool = False, ways: Ways = LOGPROBS) -> None:
    """Refuse target modules that are not there or take no adapter, and adapters that cannot be merged.

    Args:
        config: the model's own; it is not changed.
        lora: what ``model.lora`` says.
        trust_remote_code: let transformers run the model's own code.
        ways: LOGPROBS, or REWARDS for a config with one label and a padding id.

    Raises:
        ModelError: with the names of the modules there are, or with what goes wrong when adapters are merged.
    """
    with torch.random.fork_rng(devices=[]), quiet():
        with torch.device("meta"):
            model = ways.auto.from_config(config, trust_remote_code=trust_remote_code)
        trained = head_names(model) if ways is REWARDS else []
        _check_names(model, lora, trained)
        add_lora(model, lora, trained=trained)
        targets = _adapted(model)
        # The copy has fewer layers, so the number of a layer stands for any.
        numbered = (re.sub(r"\\\.\d+\\\.", lambda _: r"\.\d+\.", re.escape(name), count=1) for name in targets)
        pattern = "|".join(dict.fromkeys(numbered))
        torch.manual_seed(0)
        try:
            small = small_copy(config, ways.auto, trust_remote_code)
        except ModelError:  # nothing to prove it on; the packed scorer refuses such a config itself
            return
        if any(re.fullmatch(pattern, name) for name, _ in small.named_modules()):
            add_lora(small, replace(lora, dropout=0.0, target_modules=pattern), trained=trained)
            _prove(small, targets)


def _check_names(model: Any, lora: Lora, trained: Sequence[str]) -> None:
    """Each name of a list must be that of a module, and all that are meant must be linear layers or embeddings."""
    modules = {name: module for name, module in model.named_modules() if name}
    wanted = lora.target_modules
    if wanted == "all-linear":
        return
    if isinstance(wanted, str):
        found = {wanted: [name for name in modules if re.fullmatch(wanted, name)]}
    else:
        found = {name: [each for each in modules if f".{each}".endswith(f".{name}")] for name in wanted}
    for name, meant in found.items():
        unfit = [each for each in meant if not isinstance(modules[each], FIT)]
        whole = [each for each in meant if any(parameter.startswith(f"{each}.") for parameter in trained)]
        if whole:
            raise ModelError(f"{KEY}: {whole[0]} is the reward head, which is trained in full anyway; leave it out")
        if meant and not unfit:
            continue
        why = f"{unfit[0]}, a {type(modules[unfit[0]]).__name__}, which takes no adapter" if unfit else "no module"
        there = sorted({each.rpartition(".")[2] for each, module in modules.items() if isinstance(module, FIT)})
        raise ModelError(
            f"{KEY}: {name!r} is {why}; expected all-linear or a list of those that {type(model).__name__} has: "
            f"{', '.join(there)}"
        )


def _adapted(model: Any) -> list[str]:
    from peft.tuners.tuners_utils import BaseTunerLayer

    return [name for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)]


def _prove(small: Any, targets: Sequence[str]) -> None:
    """Random adapters, the copy with them against the one they are merged into."""
    named = ", ".join(dict.fromkeys(name.rpartition(".")[2] for name in targets))
    ids = torch.arange(3, 12)[None]
    try:
        with torch.no_grad():
            for name, parameter in small.named_parameters():
                if ".lora_" in name:
                    parameter.normal_(0.0, 0.3)
            wanted = small.eval()(input_ids=ids, use_cache=False).logits
            state, merged = merge(small, with_shared_names(small, small.state_dict()))
            fresh = rebuilt(small, state, torch.float32, merged=merged, device="cpu").eval()
            got = fresh(input_ids=ids, use_cache=False).logits
    except Exception as error:
        raise ModelError(
            f"{KEY}: {type(small).__name__} with adapters on {named} cannot be trained and merged "
            f"({type(error).__name__}: {error}); name others, such as [q_proj, v_proj]"
        ) from error
    difference = float((got - wanted).abs().max() / wanted.abs().max())
    if not difference <= 10 * TOLERANCE:  # NaN is refused too
        raise ModelError(
            f"{KEY}: {type(small).__name__} with adapters on {named} and with them merged differ by {difference:.1e}; "
            "name others, such as [q_proj, v_proj]"
        )
