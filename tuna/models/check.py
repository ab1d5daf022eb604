"""What an architecture can do, shown at load on a small random copy: score packed rows exactly, merge LoRA exactly."""

import copy
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, PretrainedConfig
from transformers.pytorch_utils import Conv1D
from transformers.utils import logging

from tuna.data.batch import Group, PackedBatch
from tuna.data.packing import pack
from tuna.errors import ModelError
from tuna.models.attention import Attention
from tuna.models.lora import Lora, add_lora, merge, rebuilt
from tuna.models.masks import layer_rules
from tuna.models.reward import head_names
from tuna.models.scorer import PlainRewardScorer, PlainScorer, ResponseScorer, RewardScorer

TOLERANCE = 1e-4  # relative difference of a summed log-probability
WINDOW, POSITIONS, VOCABULARY = 7, 140, 96
# (prompt, responses) in tokens: longer than the window, together longer than the positions, a prompt of one token;
# the first group is long enough for the CPU's attention in blocks, the others are not.
SHAPES = ((60, (75, 64)), (1, (16, 5, 2)), (6, (1, 8)))
TARGETS = "model.lora.target_modules"
ADAPTABLE = (nn.Linear, Conv1D, nn.Embedding)


@dataclass(frozen=True, slots=True)
class Ways:
    """The class that builds a model of this kind, how its rows are scored, and what the scores are called."""

    auto: Any
    packed: type[ResponseScorer]
    plain: type[PlainScorer]
    number: str


LOGPROBS = Ways(AutoModelForCausalLM, ResponseScorer, PlainScorer, "log-probabilities")
REWARDS = Ways(AutoModelForSequenceClassification, RewardScorer, PlainRewardScorer, "rewards")


def check_packing(
    config: PretrainedConfig, *, attention: Attention = "auto", trust_remote_code: bool = False, ways: Ways = LOGPROBS
) -> None:
    """Run a small random copy of ``config`` packed and plain, and refuse a model whose numbers differ.

    attention is ``model.attention``; FlexAttention is checked as SDPA, since the masks have one source. ways: LOGPROBS,
    or REWARDS for a config with one label and a padding id. Raises: ModelError where the two differ by more than 1e-4
    (relative), the model takes no custom mask, or no small copy of it runs.
    """
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(0)
        model = small_copy(config, ways.auto, trust_remote_code)
        name = type(model).__name__
        layer_rules(model.config.get_text_config())
        batch = _batch(model.config.get_text_config().vocab_size)
        try:
            attention = "auto" if attention == "flex" else attention
            with torch.no_grad():
                got = ways.packed(model, attention=attention, projection_chunk=16)(batch)
        except ModelError:
            raise
        except Exception as error:
            raise _refused(name, f"its forward does not take a packed row ({type(error).__name__}: {error})") from error
        with torch.no_grad():
            wanted = ways.plain(model)(batch)
    # Relative to the number itself; a reward near zero, to their mean.
    difference = float(((got - wanted).abs() / torch.maximum(wanted.abs(), wanted.abs().mean()).clamp_min(1e-6)).max())
    if not difference <= TOLERANCE:  # NaN is refused too
        raise _refused(name, f"packed and plain {ways.number} differ by {difference:.1e} (allowed {TOLERANCE:.0e})")


def _refused(name: str, why: str) -> ModelError:
    return ModelError(f"{name} cannot score responses in packed rows: {why}; use model.scorer=plain")


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps transformers from printing about a throw-away model."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def small_copy(config: PretrainedConfig, auto: Any, trust_remote_code: bool) -> Any:
    """A float32 copy with random weights, few layers and, where that works, fewer heads; ModelError where none runs."""
    for shrink_heads in (True, False):
        try:
            small = _shrunk(config, shrink_heads)
            model = auto.from_config(small, trust_remote_code=trust_remote_code, dtype=torch.float32)
            _randomize(model)
            model.eval()
            with torch.no_grad():
                model(input_ids=torch.zeros(1, 4, dtype=torch.long), use_cache=False)
        except Exception as error:
            fault = str(error)
        else:
            return model
    name = (config.architectures or [config.model_type])[0]
    raise _refused(name, f"no small copy of its config runs, so exactness cannot be shown ({fault})")


def _shrunk(config: PretrainedConfig, shrink_heads: bool) -> PretrainedConfig:
    small = copy.deepcopy(config)
    text = small.get_text_config()
    _keep_layers(text)
    for key, value in _integers(text):
        if ("window" in key or key == "attention_chunk_size") and "layers" not in key and value > WINDOW:
            setattr(text, key, WINDOW)
        elif key in ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx"):
            setattr(text, key, POSITIONS)
        elif key in ("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size", "moe_intermediate_size"):
            setattr(text, key, min(value, 64))
        elif key.endswith("_token_id") and value >= VOCABULARY:
            setattr(text, key, 0)
    text.vocab_size = min(text.vocab_size, VOCABULARY)
    if shrink_heads:
        _fewer_heads(text)
    return small


def _keep_layers(text: Any) -> None:
    """Two layers, or one of each type where there are more; every per-layer list is cut to the same layers."""
    count = text.num_hidden_layers
    types = getattr(text, "layer_types", None) or ["full_attention"] * count
    first = [types.index(kind) for kind in dict.fromkeys(types)]
    kept = sorted(first) if len(first) > 1 else list(range(min(count, 2)))
    for key, value in list(vars(text).items()):
        if isinstance(value, list) and len(value) == count and count > 1:
            setattr(text, key, [value[layer] for layer in kept])
    blocks = getattr(text, "attention_types", None)  # GPT-Neo: [[["global", "local"], 12]]
    if isinstance(blocks, list) and blocks:
        text.attention_types = [[blocks[0][0], 1]]
        kept = list(range(len(blocks[0][0])))
        text.attention_layers = list(blocks[0][0])
    text.num_hidden_layers = len(kept)


def _fewer_heads(text: Any) -> None:
    """At most two key-value heads with the ratio of query heads to them and the size of a head as they are."""
    heads, hidden = text.num_attention_heads, text.hidden_size
    keys = getattr(text, "num_key_value_heads", None)
    new_heads = heads // (keys or heads) * min(keys or heads, 2)
    new_hidden = hidden // heads * new_heads
    for key, value in _integers(text):
        if value == hidden and re.search("size|dim|embd|model", key):
            setattr(text, key, new_hidden)
    text.hidden_size, text.num_attention_heads = new_hidden, new_heads
    if keys is not None:
        text.num_key_value_heads = min(keys, 2)


def _integers(config: object) -> list[tuple[str, int]]:
    return [(key, value) for key, value in vars(config).items() if type(value) is int]


def _randomize(model: Any) -> None:
    """Weights large enough for attention to be sharp: with the usual tiny ones a wrong mask would hardly show."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                parameter.normal_(0.0, 2.0 / math.sqrt(parameter.shape[-1]))
            else:
                parameter.add_(torch.randn_like(parameter) * 0.1)


def _batch(vocabulary: int) -> PackedBatch:
    """The groups of SHAPES with random tokens: two in one row, the third in another with padding."""
    groups = []
    for prompt, lengths in SHAPES:
        first, *rest = (torch.randint(0, vocabulary, (n,)).numpy().astype(np.int32) for n in (prompt, *lengths))
        groups.append(Group("", first, tuple(rest), (0.0,) * len(rest), (True,) * len(rest)))
    return pack(groups, row_tokens=230)  # the first two groups


def check_lora(config: PretrainedConfig, lora: Lora, *, trust_remote_code: bool = False, ways: Ways = LOGPROBS) -> None:
    """Refuse target modules that the model lacks or that take no adapter, and adapters that cannot be merged.

    ways: as for ``check_packing``. Raises: ModelError with the modules that there are, with what fails in the merge, or
    where merging changes a small copy's logits by more than 1e-3 of the largest.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    with torch.random.fork_rng(devices=[]), quiet():
        with torch.device("meta"):
            model = ways.auto.from_config(config, trust_remote_code=trust_remote_code)
        trained = head_names(model) if ways is REWARDS else []
        _check_names(model, lora, trained)
        add_lora(model, lora, trained=trained)
        targets = [name for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)]
        # The copy has fewer layers, so the number of a layer stands for any.
        numbered = (re.escape(re.sub(r"\.\d+\.", ".#.", name, count=1)) for name in targets)
        pattern = "|".join(dict.fromkeys(numbered)).replace(r"\#", r"\d+")
        torch.manual_seed(0)
        try:
            small = small_copy(config, ways.auto, trust_remote_code)
        except ModelError:  # nothing to prove it on; the packed scorer refuses such a config itself
            return
        if any(re.fullmatch(pattern, name) for name, _ in small.named_modules()):
            add_lora(small, replace(lora, dropout=0.0, target_modules=pattern), trained=trained)
            _prove(small, targets)


def _check_names(model: Any, lora: Lora, trained: Sequence[str]) -> None:
    """Each name must be that of a module, and all that are meant must be linear layers or embeddings."""
    modules = {name: module for name, module in model.named_modules() if name}
    wanted = lora.target_modules
    if wanted == "all-linear":
        return
    for name in [wanted] if isinstance(wanted, str) else wanted:
        pattern = name if isinstance(wanted, str) else rf"(.*\.)?{re.escape(name)}"
        meant = [each for each in modules if re.fullmatch(pattern, each)]
        unfit = [each for each in meant if not isinstance(modules[each], ADAPTABLE)]
        whole = [each for each in meant if any(parameter.startswith(f"{each}.") for parameter in trained)]
        if whole:
            raise ModelError(f"{TARGETS}: {whole[0]} is the reward head, which is trained in full anyway; leave it out")
        if meant and not unfit:
            continue
        why = f"{unfit[0]}, a {type(modules[unfit[0]]).__name__}, which takes no adapter" if unfit else "no module"
        there = sorted({each.rpartition(".")[2] for each, module in modules.items() if isinstance(module, ADAPTABLE)})
        raise ModelError(
            f"{TARGETS}: {name!r} is {why}; expected all-linear or a list of those that {type(model).__name__} has: "
            f"{', '.join(there)}"
        )


def _prove(small: Any, targets: Sequence[str]) -> None:
    """Random adapters, the copy with them against the one they are merged into."""
    named = ", ".join(dict.fromkeys(name.rpartition(".")[2] for name in targets))
    who, next_ = f"{TARGETS}: {type(small).__name__} with adapters on {named}", "name others, such as [q_proj, v_proj]"
    ids = torch.arange(3, 12)[None]
    try:
        with torch.no_grad():
            for name, parameter in small.named_parameters():
                if ".lora_" in name:
                    parameter.normal_(0.0, 0.3)
            wanted = small.eval()(input_ids=ids, use_cache=False).logits
            state, merged = merge(small, {name: tensor.clone for name, tensor in small.state_dict().items()})
            fresh = rebuilt(small, torch.float32, merged=merged, device="cpu").eval()
            fresh.load_state_dict({name: fetch() for name, fetch in state.items()})
            got = fresh(input_ids=ids, use_cache=False).logits
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise ModelError(f"{who} cannot be trained and merged ({why}); {next_}") from error
    difference = float((got - wanted).abs().max() / wanted.abs().max())
    if not difference <= 10 * TOLERANCE:  # NaN is refused too
        raise ModelError(f"{who} and with them merged differ by {difference:.1e}; {next_}")
