"""Reward models, which are Hugging Face's sequence-classification class of a causal architecture with one label."""

from shlex import quote
from typing import Any

from transformers import PretrainedConfig, PreTrainedTokenizerBase
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
)

from tuna.errors import ConfigError, ModelError
from tuna.models.source import ModelConfig, Resolved

PAD = "<|pad|>"
_CLASS = "ForSequenceClassification"


def has_reward_head(config: PretrainedConfig) -> bool:
    """Whether the folder of this config holds a sequence-classification model."""
    return any(name.endswith(_CLASS) for name in config.architectures or [])


def head_names(reward: Any) -> list[str]:
    """Names of the parameters that are not the backbone's."""
    inside = {id(parameter) for parameter in reward.base_model.parameters()}
    return [name for name, parameter in reward.named_parameters() if id(parameter) not in inside]


def refuse_reward_model(resolved: Resolved) -> None:
    """Raises ModelError for a model that has a reward head where one is needed that writes answers."""
    if has_reward_head(resolved.config):
        raise ModelError(
            f"{resolved.source}: a reward model ({resolved.architecture}), which writes no answers; give a causal "
            f"language model. It is for stage=prm, and for python rank.py ranker=proxy ranker.path={resolved.source}"
        )


def writer(model: ModelConfig) -> ModelConfig:
    """The model as it is, when its config says that it can write answers.

    Raises: ConfigError where ``model.resize`` is set, which only train.py uses; ModelError where it is a reward model,
    or its embedding lacks rows for its tokenizer.
    """
    if model.resize:
        raise ConfigError("model.resize: expected false; only train.py adds rows to an embedding; give its run")
    if model.quantize:
        raise ConfigError("model.quantize: expected null; only train.py quantizes, what is frozen under LoRA")
    refuse_reward_model(model.resolve())
    _ = model.rows
    return model


def check_reward_model(resolved: Resolved) -> None:
    """Raises ModelError where the config is not that of a reward model, or ``check_reward_source`` refuses it."""
    if not has_reward_head(resolved.config):
        raise ModelError(
            f"{resolved.source}: {resolved.architecture}, which has no reward head; expected a sequence-classification "
            f"model with one label. Next: python train.py stage=prm {quote(f'model.path={resolved.source}')} "
            "datamodule.path=FILE, then its run"
        )
    check_reward_source(resolved)


def check_reward_source(resolved: Resolved) -> None:
    """Check, from the config alone, that a reward model can be made of this model, or that it is one.

    Raises: ModelError where transformers has no causal language model or no sequence-classification class of its
    architecture, or where it has several labels or a head of another kind.
    """
    config = resolved.config
    kind, who = str(config.model_type), f"{resolved.source}: {resolved.architecture}"
    remote = getattr(config, "auto_map", None) or {}
    causal, reward = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES
    for mapping, auto, what in (
        (causal, "AutoModelForCausalLM", "causal language model"),
        (reward, f"AutoModel{_CLASS}", "sequence-classification class"),
    ):
        if kind not in mapping and auto not in remote:
            raise ModelError(
                f"{who} (model_type {kind}) has no {what} in transformers, so it cannot be a reward model here; take a "
                "causal architecture that has one, such as Llama, Qwen, Mistral or GPT-2"
            )
    if has_reward_head(config):
        if config.num_labels != 1:
            raise ModelError(f"{who} with {config.num_labels} labels; expected 1, the reward")
        return
    known = causal.get(kind, "...ForCausalLM")
    names = config.architectures or [kind]
    if not any(name in (kind, known) or name.endswith(("ForCausalLM", "LMHeadModel")) for name in names):
        raise ModelError(
            f"{who}; expected a causal language model ({known}) or a sequence-classification model "
            f"({reward.get(kind, _CLASS)})"
        )


def set_pad(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Give the tokenizer a padding token that is not its end-of-sequence token; True where that changed the tokenizer.

    Such a token of its own is kept; else a special token of its vocabulary named after padding is taken, or a new one.
    The sequence-classification class reads the reward at the rightmost token that is not padding.
    """
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id != tokenizer.eos_token_id:
        return False
    special = (token for _, token in sorted(tokenizer.added_tokens_decoder.items()) if token.special)
    named = [str(token) for token in special if "pad" in str(token).lower() and str(token) != tokenizer.eos_token]
    if named:
        tokenizer.pad_token = named[0]
    else:
        tokenizer.add_special_tokens({"pad_token": PAD})
    return True
