"""From a resolved model to a reward scorer: the head of a reward model, or a fresh one on a causal language model."""

import copy
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, PretrainedConfig

from tuna.errors import ModelError
from tuna.models.check import REWARDS, check_packing, quiet, small_copy
from tuna.models.finite import check_finite
from tuna.models.fits import check_weights, refuse_misfit
from tuna.models.folder import explain
from tuna.models.loading import grow
from tuna.models.lora import add_lora, parse_lora
from tuna.models.lora_check import check_lora
from tuna.models.reward import PlainRewardScorer, RewardScorer, head_names
from tuna.models.reward_source import check_reward_source, has_reward_head, set_pad
from tuna.models.scorer import IMPLEMENTATIONS
from tuna.models.source import ModelConfig, Resolved

HEAD_STD = 0.02  # of a fresh head: rewards begin near zero


def load_reward_scorer(
    model: ModelConfig, resolved: Resolved | None = None, *, seed: int = 0, dtype: torch.dtype = torch.float32
) -> RewardScorer | PlainRewardScorer:
    """Read the weights and build the reward scorer that ``model`` asks for, as ``load_scorer`` does for responses.

    Args:
        model: the config node.
        resolved: what ``model.resolve()`` gave; resolved now when left out.
        seed: of a fresh head.
        dtype: of the weights in memory.

    Returns:
        RewardScorer or PlainRewardScorer, in train mode, on the CPU; ``.model`` is the sequence-classification model,
        whose padding id is set and not the end-of-sequence id.

    Raises:
        ModelError: no reward model can be made of it, or not in packed rows, or the weights cannot be read.
    """
    resolved = model.resolve() if resolved is None else resolved
    check_reward_source(resolved)
    check_reward_weights(model, resolved)
    small = copy.deepcopy(resolved.config)
    small.num_labels = 1
    small.get_text_config().pad_token_id = 0
    _check_causal(small, model.trust_remote_code)
    if model.scorer == "packed":
        check_packing(small, attention=model.attention, trust_remote_code=model.trust_remote_code, ways=REWARDS)
    lora = parse_lora(model.lora)
    if lora is not None:
        check_lora(small, lora, trust_remote_code=model.trust_remote_code, ways=REWARDS)
    reward = load_reward_model(model, resolved, seed=seed, dtype=dtype)
    if lora is not None:
        add_lora(reward, lora, trained=head_names(reward))
    if model.gradient_checkpointing:
        reward.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    reward.train()
    if model.scorer == "plain":
        if model.attention != "auto":
            reward.set_attn_implementation(IMPLEMENTATIONS[model.attention])
        return PlainRewardScorer(reward)
    return RewardScorer(reward, attention=model.attention)


def check_reward_weights(model: ModelConfig, resolved: Resolved) -> None:
    """See tuna.models.fits.check_weights; of a causal language model the head may be missing."""
    fresh = not has_reward_head(resolved.config)
    check_weights(model, resolved, AutoModelForSequenceClassification, fresh_head=fresh, num_labels=1)


def load_reward_model(
    model: ModelConfig, resolved: Resolved, *, seed: int = 0, dtype: torch.dtype = torch.float32
) -> Any:
    """The Hugging Face sequence-classification model itself, one label.

    Of a causal language model the backbone is read, and the head drawn from ``seed``: weights normal with standard
    deviation 0.02, biases zero. A padding token that the vocabulary lacks gets an embedding, the mean of the others.

    Raises:
        ModelError: the embedding lacks rows for the tokenizer; a weight is missing, has another shape than the config
            says or is no number.
    """
    rows = model.rows
    auto: Any = AutoModelForSequenceClassification  # typed as if it gave no loading info
    try:
        with quiet():  # it would report the head as missing and the language model's as left over
            reward, info = auto.from_pretrained(
                resolved.weights_folder,
                num_labels=1,
                dtype=dtype,
                use_safetensors=True,
                trust_remote_code=model.trust_remote_code,
                output_loading_info=True,
            )
    except Exception as error:
        raise ModelError(
            f"{resolved.source}: transformers cannot load it as a reward model ({explain(error)})"
        ) from error
    fresh = set() if has_reward_head(resolved.config) else set(head_names(reward))
    refuse_misfit(resolved.source, info, fresh)
    generator = torch.Generator().manual_seed(seed)
    for name in sorted(fresh):
        parameter = reward.get_parameter(name).data
        drawn = torch.randn(parameter.shape, generator=generator) * HEAD_STD
        parameter.copy_(drawn if parameter.dim() > 1 else torch.zeros_like(drawn))
    check_finite(reward, resolved.source)
    grow(reward, rows)
    _pad(reward, model)
    return reward


def _pad(reward: Any, model: ModelConfig) -> None:
    tokenizer = model.tokenizer()
    set_pad(tokenizer)
    pad = int(tokenizer.pad_token_id)
    grow(reward, pad + 1)
    reward.config.pad_token_id = reward.config.get_text_config().pad_token_id = pad


def _check_causal(config: PretrainedConfig, trust_remote_code: bool) -> None:
    """Refuse encoders, whose reward is read at another token and whose tokens see what comes after them."""
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(0)
        model = small_copy(config, AutoModelForSequenceClassification, trust_remote_code)
        ids = torch.tensor([[3, 5, 7, 9], [3, 5, 7, 8]])
        with torch.no_grad():
            first = model.base_model(input_ids=ids).last_hidden_state[:, 0]
            rewards = model(input_ids=ids).logits[:, 0]
    if not torch.allclose(first[0], first[1]) or torch.allclose(rewards[0], rewards[1]):
        raise ModelError(
            f"{type(model).__name__}: not causal, or its head does not read the last token, so it cannot be a reward "
            "model here; take a causal architecture, such as Llama, Qwen, Mistral or GPT-2"
        )
