"""Reward models: what one can start from, said from the config alone; its head, and its padding token.

They are Hugging Face's sequence-classification class of a causal architecture with one label.
"""

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
    """Whether the folder of this config holds a sequence-classification model.

    >>> from transformers import LlamaConfig
    >>> has_reward_head(LlamaConfig(architectures=["LlamaForSequenceClassification"]))
    True
    """
    return any(name.endswith(_CLASS) for name in config.architectures or [])


def head_names(reward: Any) -> list[str]:
    """Names of the parameters that are not the backbone's."""
    inside = {id(parameter) for parameter in reward.base_model.parameters()}
    return [name for name, parameter in reward.named_parameters() if id(parameter) not in inside]


def refuse_reward_model(resolved: Resolved) -> None:
    """Raises ModelError for a model that has a reward head where one is needed that writes answers."""
    if has_reward_head(resolved.config):
        named = (resolved.config.architectures or [""])[0]
        raise ModelError(
            f"{resolved.source}: a reward model ({named}), which writes no answers; "
            "give a causal language model. A reward model is for stage=prm, and for "
            f"python rank.py ranker=proxy ranker.path={resolved.source}"
        )


def writer(model: ModelConfig) -> ModelConfig:
    """The model, if its config says that it can write answers, as it is.

    Raises:
        ConfigError: ``model.resize`` is set, which only training does.
        ModelError: it has a reward head, or an embedding that lacks rows for its tokenizer.
    """
    if model.resize:
        raise ConfigError("model.resize: expected false; only train.py adds rows to an embedding; give its run")
    refuse_reward_model(model.resolve())
    _ = model.rows
    return model


def check_reward_model(resolved: Resolved) -> None:
    """Check, from the config alone, that this is a reward model already.

    Raises:
        ModelError: it has no reward head, or one that ``check_reward_source`` refuses.
    """
    if not has_reward_head(resolved.config):
        named = (resolved.config.architectures or [resolved.config.model_type])[0]
        raise ModelError(
            f"{resolved.source}: {named}, which has no reward head; expected a sequence-classification model with one "
            f"label. Next: python train.py stage=prm {quote(f'model.path={resolved.source}')} datamodule.path=FILE, "
            "then its run"
        )
    check_reward_source(resolved)


def check_reward_source(resolved: Resolved) -> None:
    """Check, from the config alone, that a reward model can be made of this model, or that it is one.

    Raises:
        ModelError: its architecture has no causal language model or no sequence-classification class, or it is a
            classifier with several labels, or has a head of another kind.
    """
    config = resolved.config
    kind = str(config.model_type)
    named = config.architectures or [kind]
    remote = getattr(config, "auto_map", None) or {}
    for mapping, auto, what in (
        (MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, "AutoModelForCausalLM", "causal language model"),
        (MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES, f"AutoModel{_CLASS}", "sequence-classification class"),
    ):
        if kind not in mapping and auto not in remote:
            raise ModelError(
                f"{resolved.source}: {named[0]} (model_type {kind}) has no {what} in transformers, so it cannot be a "
                "reward model here; take a causal architecture that has one, such as Llama, Qwen, Mistral or GPT-2"
            )
    labels = config.num_labels
    if has_reward_head(config) and labels != 1:
        raise ModelError(f"{resolved.source}: {named[0]} with {labels} labels; expected 1, the reward")
    if not has_reward_head(config) and not any(_writes(name, kind) for name in named):
        raise ModelError(
            f"{resolved.source}: {named[0]}; expected a causal language model ({_causal(kind)}) or a "
            f"sequence-classification model ({MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES.get(kind, _CLASS)})"
        )


def _causal(kind: str) -> str:
    found = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(kind, "...ForCausalLM")
    return found if isinstance(found, str) else found[0]


def _writes(name: str, kind: str) -> bool:
    """Whether an architecture's name is one of a causal language model, or of a config that names none."""
    return name in (kind, _causal(kind)) or name.endswith(("ForCausalLM", "LMHeadModel"))


def set_pad(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Give the tokenizer a padding token that is not its end-of-sequence token; whether that changed it.

    Its own where it has such a one, else a special token of its vocabulary that is named after padding, else a new one.
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
