"""From a resolved model to a scorer with float32 weights, of log-probabilities or of rewards; sharding it (FSDP2)."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from transformers import AutoModelForSequenceClassification, PretrainedConfig

from tuna.errors import ConfigError, ModelError
from tuna.models.check import LOGPROBS, REWARDS, Ways, check_lora, check_packing, quiet, small_copy
from tuna.models.checkpointing import Checkpointing, checkpoint_layers, decoder_layers
from tuna.models.folder import stored_dtype
from tuna.models.frozen import compute_in, halve
from tuna.models.lora import add_lora, draw_adapters, parse_lora
from tuna.models.quantized import compute_in_half
from tuna.models.reward import check_reward_source, head_names, refuse_reward_model, set_pad
from tuna.models.scorer import IMPLEMENTATIONS, PlainRewardScorer, PlainScorer, ResponseScorer, RewardScorer
from tuna.models.shards import fill
from tuna.models.source import ModelConfig
from tuna.models.weights import check_weights, read, read_blank, refuse_not_finite

Scorer = ResponseScorer | PlainScorer
HEAD_STD = 0.02  # of a fresh head: rewards begin near zero
# Trained weights are float32 always; this is what layers compute in. Gradients are reduced in float32.
COMPUTE: dict[str, torch.dtype | None] = {"32-true": None, "bf16-mixed": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class Sharding:
    """Load sharded: each process reads its share of the weights alone. The fields are the arguments of ``shard``."""

    mesh: DeviceMesh
    precision: str = "32-true"
    checkpoint_activations: Checkpointing = False


def load_scorer(
    model: ModelConfig, *, dtype: torch.dtype = torch.float32, sharding: Sharding | None = None, frozen: bool = False
) -> Scorer:
    """The scorer that ``model`` asks for, in train mode, on the CPU; ``.model`` is the Hugging Face causal LM.

    Weights are float32 unless told otherwise, whatever the file holds: in bf16 small AdamW steps round to nothing.
    The packed scorer and the merge of LoRA are first proved on a two-layer random copy of the config; ModelError where
    they fail there, the embedding lacks rows for the tokenizer, or the weights cannot be read. sharding: over several
    processes, all of which call this; the weights then lie where the mesh does. frozen: nothing of it is trained.
    What is frozen, here or under LoRA, is bfloat16 where ``model.frozen_dtype`` says so.
    """
    check_weights(model)
    load = partial(load_model, model, dtype=dtype, blank=sharding is not None or model.by_slices)
    return _scorer(model, model.resolve().config, LOGPROBS, load, sharding, frozen=frozen)


def load_reward_scorer(
    model: ModelConfig, *, seed: int = 0, dtype: torch.dtype = torch.float32, sharding: Sharding | None = None
) -> RewardScorer | PlainRewardScorer:
    """The reward scorer that ``model`` asks for, as ``load_scorer`` makes that of responses. seed: of a fresh head.

    ``.model`` is the sequence-classification model, whose padding id is set and not the end-of-sequence id.
    Raises: ModelError where no reward model can be made of it, or as ``load_scorer`` does.
    """
    check_reward_source(model.resolve())
    check_weights(model, reward=True)
    config = copy.deepcopy(model.resolve().config)
    config.num_labels = 1
    config.get_text_config().pad_token_id = 0
    _check_causal(config, model.trust_remote_code)
    load = partial(load_reward_model, model, seed=seed, dtype=dtype, blank=sharding is not None or model.by_slices)
    scorer = _scorer(model, config, REWARDS, load, sharding)
    assert isinstance(scorer, RewardScorer | PlainRewardScorer)
    return scorer


def _scorer(
    model: ModelConfig, config: PretrainedConfig, ways: Ways, load: Callable[[], Any], sharding: Sharding | None,
    *, frozen: bool = False,
) -> Scorer:  # fmt: skip
    """Prove on small copies of ``config`` what ``model`` asks for, then ``load`` the weights and wrap them."""
    if model.scorer == "packed":
        check_packing(config, attention=model.attention, trust_remote_code=model.trust_remote_code, ways=ways)
    lora = parse_lora(model.lora)
    if lora is not None:
        check_lora(config, lora, trust_remote_code=model.trust_remote_code, ways=ways)
    with torch.random.fork_rng(devices=[]):  # what is drawn to load does not decide how adapters begin
        loaded = load()
        if lora is not None:
            add_lora(loaded, lora, trained=head_names(loaded) if ways is REWARDS else ())
    if lora is not None:
        draw_adapters(loaded)
    if frozen:
        loaded.requires_grad_(False)
    if model.halves:
        halve(loaded)
        compute_in_half(loaded)
    checkpoint_layers(loaded, model.gradient_checkpointing)
    loaded.train()
    scorer: Scorer
    if model.scorer == "plain":
        if model.attention != "auto":
            loaded.set_attn_implementation(IMPLEMENTATIONS[model.attention])
        scorer = ways.plain(loaded)
    else:
        kept = {"projection_chunk": model.projection_chunk, "projection_memory": model.projection_memory}
        scorer = ways.packed(loaded, attention=model.attention, **kept)
    blank = any(parameter.is_meta for parameter in loaded.parameters())
    if sharding is not None:
        precision, activations = sharding.precision, sharding.checkpoint_activations
        shard(scorer, sharding.mesh, precision=precision, checkpoint_activations=activations)
    if blank:
        fill(loaded, model.resolve().weights_folder)
        refuse_not_finite(model.resolve().source, loaded.named_parameters())
    return scorer


def load_model(model: ModelConfig, *, dtype: torch.dtype = torch.float32, blank: bool = False) -> Any:
    """The Hugging Face causal LM itself, with all its weights read from safetensors; ``model.resize`` adds rows.

    blank: leave the weights on the meta device, for ``tuna.models.shards.fill``, where they can be read by slices.
    Raises: ModelError where it is a reward model, its embedding lacks rows for the tokenizer, or a weight is missing,
    of another shape than its config's, NaN or infinite.
    """
    refuse_reward_model(model.resolve())
    rows = model.rows
    causal, _ = (read_blank if blank else read)(model, reward=False, dtype=dtype)
    grow(causal, rows)
    return causal


def load_reward_model(
    model: ModelConfig, *, seed: int = 0, dtype: torch.dtype = torch.float32, blank: bool = False
) -> Any:
    """The Hugging Face sequence-classification model itself, one label. blank: as for ``load_model``.

    Of a causal language model the backbone is read, and the head drawn from ``seed``: weights normal with standard
    deviation 0.02, biases zero. A padding token that the vocabulary lacks gets an embedding, the mean of the others.
    """
    rows = model.rows
    reward, fresh = (read_blank if blank else read)(model, reward=True, dtype=dtype)
    generator = torch.Generator().manual_seed(seed)
    for name in sorted(fresh):
        owner, _, leaf = name.rpartition(".")
        drawn = torch.randn(reward.get_parameter(name).shape, generator=generator) * HEAD_STD
        drawn = drawn if drawn.dim() > 1 else torch.zeros_like(drawn)
        setattr(reward.get_submodule(owner), leaf, nn.Parameter(drawn.to(dtype)))
    tokenizer = model.tokenizer()
    set_pad(tokenizer)
    pad = int(tokenizer.pad_token_id)
    grow(reward, max(rows, pad + 1))
    reward.config.pad_token_id = reward.config.get_text_config().pad_token_id = pad
    return reward


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


def grow(model: Any, rows: int) -> None:
    """Give the model's embedding, and its head where it has one, at least ``rows`` rows; the config says so after it.

    A new row is the mean of the others, about which transformers' ``resize_token_embeddings`` draws its own with a
    variance of 1e-9 of theirs; tied weights stay tied. Nothing is drawn, so that a resumed run grows the same rows.
    """
    old = model.get_input_embeddings().weight.shape[0]
    if rows <= old:
        return
    with quiet():
        model.resize_token_embeddings(rows, mean_resizing=False)
    with torch.no_grad():
        for module in filter(None, (model.get_input_embeddings(), model.get_output_embeddings())):
            for weight in module.parameters():
                weight[old:] = weight[:old].mean(0)


def shard(
    scorer: nn.Module, mesh: DeviceMesh, *, precision: str = "32-true", checkpoint_activations: Checkpointing = False
) -> None:
    """Shard ``scorer`` in place over ``mesh``; each process then holds 1/n of every parameter.

    scorer: with the same weights on every process, or on the meta device. mesh: of one dimension, or of two: copies
    of the model, which average their gradients, and the processes over which each is sharded. precision: "32-true", or
    "bf16-mixed" to compute in bfloat16. checkpoint_activations: see
    ``checkpoint_layers``. Raises: ConfigError for another precision, and a model without a list of layers.
    """
    if precision not in COMPUTE:
        raise ConfigError(f"precision: expected {' or '.join(COMPUTE)} when sharded, got {precision!r}")
    model: Any = scorer.model
    checkpoint_layers(model, checkpoint_activations)
    compute_in(model, COMPUTE[precision] or torch.float32)
    policy = MixedPrecisionPolicy(param_dtype=COMPUTE[precision], reduce_dtype=torch.float32)
    for layer in decoder_layers(model):
        fully_shard(layer, mesh=mesh, mp_policy=policy, reshard_after_forward=True)
    # What is in no layer (embeddings, last norm, head) belongs to the root, whose forward uses all of it.
    fully_shard(scorer, mesh=mesh, mp_policy=policy, reshard_after_forward=True)


def device_named(name: str) -> torch.device:
    """The device of a config's ``device`` key: auto is CUDA where there is one, else the CPU."""
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def dtype_named(name: str, device: torch.device, folder: Path) -> torch.dtype:
    """The type of a model that answers, of a config's ``dtype`` key: auto is float32 on the CPU, else that of most
    weights in ``folder``.
    """
    if name == "auto":
        name = "float32" if device.type == "cpu" else stored_dtype(folder)
    return cast(torch.dtype, getattr(torch, name))
