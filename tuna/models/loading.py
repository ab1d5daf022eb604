"""From a resolved model to a scorer with float32 weights."""

from typing import Any

import torch
from transformers import AutoModelForCausalLM

from tuna.errors import ModelError
from tuna.models.check import check_packing, quiet
from tuna.models.finite import check_finite
from tuna.models.fits import check_weights, refuse_misfit
from tuna.models.folder import explain
from tuna.models.lora import add_lora, parse_lora
from tuna.models.lora_check import check_lora
from tuna.models.plain import PlainScorer
from tuna.models.reward_source import refuse_reward_model
from tuna.models.scorer import IMPLEMENTATIONS, ResponseScorer
from tuna.models.source import ModelConfig, Resolved

Scorer = ResponseScorer | PlainScorer


def load_scorer(model: ModelConfig, resolved: Resolved | None = None, *, dtype: torch.dtype = torch.float32) -> Scorer:
    """Read the weights and build the scorer that ``model`` asks for.

    Weights are float32 unless told otherwise, whatever the file holds: in bf16 small AdamW steps round to nothing.
    The packed scorer and the merge of LoRA are first proved on a two-layer random copy of the config.

    Args:
        model: the config node.
        resolved: what ``model.resolve()`` gave; resolved now when left out.
        dtype: of the weights in memory.

    Returns:
        ResponseScorer or PlainScorer, in train mode, on the CPU; ``.model`` is the Hugging Face causal LM.

    Raises:
        ModelError: the architecture cannot score packed rows or take these adapters, the embedding lacks rows for the
            tokenizer, or the weights cannot be read.
    """
    resolved = model.resolve() if resolved is None else resolved
    check_causal_weights(model, resolved)
    if model.scorer == "packed":
        check_packing(resolved.config, attention=model.attention, trust_remote_code=model.trust_remote_code)
    lora = parse_lora(model.lora)
    if lora is not None:
        check_lora(resolved.config, lora, trust_remote_code=model.trust_remote_code)
    causal = load_model(model, resolved, dtype=dtype)
    if lora is not None:
        add_lora(causal, lora)
    if model.gradient_checkpointing:
        causal.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    causal.train()
    if model.scorer == "plain":
        if model.attention != "auto":
            causal.set_attn_implementation(IMPLEMENTATIONS[model.attention])
        return PlainScorer(causal)
    return ResponseScorer(causal, attention=model.attention, projection_chunk=model.projection_chunk)


def check_causal_weights(model: ModelConfig, resolved: Resolved) -> None:
    """See tuna.models.fits.check_weights; a reward model is refused first."""
    refuse_reward_model(resolved)
    check_weights(model, resolved, AutoModelForCausalLM)


def load_model(model: ModelConfig, resolved: Resolved, *, dtype: torch.dtype = torch.float32) -> Any:
    """The Hugging Face causal LM itself, with all its weights read from safetensors; ``model.resize`` adds rows.

    Raises:
        ModelError: the embedding lacks rows for the tokenizer, a weight is missing, has another shape than the config
            says or is no number, the class has no causal LM, or it is a reward model.
    """
    refuse_reward_model(resolved)
    rows = model.rows
    folder = resolved.weights_folder
    auto: Any = AutoModelForCausalLM  # typed as if it gave no loading info
    try:
        causal, info = auto.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=model.trust_remote_code,
            output_loading_info=True,
        )
    except Exception as error:
        raise ModelError(
            f"{resolved.source}: transformers cannot load it as a causal language model ({explain(error)})"
        ) from error
    refuse_misfit(resolved.source, info)
    check_finite(causal, resolved.source)
    grow(causal, rows)
    return causal


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
        for module in (model.get_input_embeddings(), model.get_output_embeddings()):
            for weight in (getattr(module, "weight", None), getattr(module, "bias", None)):
                if weight is not None:
                    weight[old:] = weight[:old].mean(0)
