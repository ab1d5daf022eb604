"""From a scorer, sharded or not, to a Hugging Face folder that transformers and vLLM load."""

import copy
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from transformers import PreTrainedTokenizerBase

from tuna.errors import ModelError
from tuna.models.folder import stored_dtype, tensor_shapes
from tuna.models.lora import ADAPTER, adapter_state, merge
from tuna.models.source import Resolved

# What a tokenizer may consist of; copied byte for byte, so that nothing a run does to its tokenizer leaks out.
TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "merges.txt", "vocab.txt", "tokenizer.model", "spiece.model", "chat_template.jinja", "chat_template.json",
)  # fmt: skip


def export(
    scorer: nn.Module,
    folder: Path,
    *,
    resolved: Resolved,
    tokenizer: PreTrainedTokenizerBase | None = None,
    dtype: str = "auto",
    card: str | None = None,
) -> None:
    """Write the scorer's model to ``folder``: config, safetensors, tokenizer, generation config, README.md.

    Every process calls it; sharded weights are gathered to the CPU of process 0, which writes to ``folder``.tmp and
    renames it when complete (an earlier ``folder`` is replaced). With LoRA the model is written merged, and the adapter
    in peft's layout to ``adapter`` beside ``folder``.

    Args:
        scorer: holds the model as ``.model``, a causal LM or a reward model.
        folder: where to.
        resolved: the starting model, whose config, generation config and tokenizer files are taken over.
        tokenizer: written in place of the starting folder's tokenizer files, where given.
        dtype: of floating-point weights; "auto" is that of the starting folder.
        card: text of README.md; none is written without it.

    Raises:
        ModelError: what was written has other tensor names or shapes than the model's class.
    """
    state = full_state(scorer)
    if not dist.is_initialized() or dist.get_rank() == 0:
        model: Any = scorer.model
        folder = Path(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        adapter = getattr(model, "peft_config", {}).get(ADAPTER)
        if adapter is not None:
            whole = [n for n, p in model.named_parameters() if p.requires_grad and ".lora_" not in n]
            _write_adapter(folder.parent / "adapter", state, adapter, resolved, whole)
            transposed = {name for name, module in model.named_modules() if getattr(module, "fan_in_fan_out", False)}
            state = merge(state, adapter.lora_alpha / adapter.r, frozenset(transposed))
        name = stored_dtype(resolved.weights_folder) if dtype == "auto" else dtype
        partial = _fresh(folder)
        _write_weights(partial, state, model, getattr(torch, name))
        _write_rest(partial, resolved.folder, tokenizer, card, model.can_generate())
        _put(partial, folder)
    if dist.is_initialized():
        dist.barrier()


def full_state(scorer: nn.Module) -> dict[str, Tensor]:
    """The model's whole state dict on the CPU, without the scorer's prefix; empty on processes other than 0."""
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    if dist.is_initialized():
        state: dict[str, Any] = get_model_state_dict(scorer, options=options)
    else:
        state = {name: tensor.detach().cpu() for name, tensor in scorer.state_dict().items()}
    return {name.removeprefix("model."): tensor for name, tensor in state.items()}


def _write_weights(partial: Path, state: dict[str, Tensor], model: Any, dtype: torch.dtype) -> None:
    """Let a fresh model of the same class, with these weights, save itself: names and tied set are transformers'."""
    config = copy.deepcopy(model.config)
    config.dtype = dtype
    with torch.device("meta"):
        fresh = type(model)._from_config(config)
    tied = dict(fresh.all_tied_weights_keys)
    for target, source in tied.items():  # a sharded state dict names only one of the two
        if source not in state and target in state:
            state[source] = state[target]
        state[target] = state[source]
    cast = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    for target, source in tied.items():
        cast[target] = cast[source]
    fresh.load_state_dict(cast, strict=False, assign=True)
    fresh.tie_weights()
    empty = [name for name, parameter in fresh.named_parameters() if parameter.is_meta]
    unknown = sorted(set(cast) - set(fresh.state_dict()))
    if empty or unknown:
        raise ModelError(f"export: weights without a value {empty[:3]}, without a place {unknown[:3]}")
    if fresh.can_generate():
        fresh.generation_config = type(fresh.generation_config)()  # the starting folder's file is copied instead
    conversions = getattr(model, "_weight_conversions", None)
    if conversions is not None:
        fresh._weight_conversions = conversions
    fresh.save_pretrained(partial)
    if conversions is None:
        _verify(partial, {name: tuple(tensor.shape) for name, tensor in fresh.state_dict().items()}, set(tied))


def _verify(partial: Path, wanted: dict[str, tuple[int, ...]], tied: set[str]) -> None:
    written = tensor_shapes(partial)
    wanted = {name: shape for name, shape in wanted.items() if name not in tied}
    if written != wanted:
        odd = sorted(set(written.items()) ^ set(wanted.items()))[:4]
        raise ModelError(f"export: the tensors written to {partial} are not the model's: {odd}")


def _write_rest(
    partial: Path, start: Path, tokenizer: PreTrainedTokenizerBase | None, card: str | None, generates: bool
) -> None:
    generation = start / "generation_config.json"
    if generates and generation.is_file():
        shutil.copyfile(generation, partial / generation.name)
    if tokenizer is not None:
        tokenizer.save_pretrained(partial)
    else:
        for name in TOKENIZER:
            if (start / name).is_file():
                shutil.copyfile(start / name, partial / name)
    if card is not None:
        (partial / "README.md").write_text(card, encoding="utf-8")


def _write_adapter(
    folder: Path, state: dict[str, Tensor], config: Any, resolved: Resolved, whole: Sequence[str]
) -> None:
    """The adapter as peft writes it: adapter_config.json and adapter_model.safetensors; ``whole`` trained in full."""
    from safetensors.torch import save_file

    partial = _fresh(folder)
    config = copy.deepcopy(config)
    config.base_model_name_or_path, config.inference_mode = resolved.source, True
    config.modules_to_save = sorted({name.rpartition(".")[0] for name in whole}) or None
    config.save_pretrained(str(partial))
    tensors = {name: tensor.contiguous() for name, tensor in adapter_state(state, whole).items()}
    save_file(tensors, str(partial / "adapter_model.safetensors"), metadata={"format": "pt"})
    _put(partial, folder)


def _fresh(folder: Path) -> Path:
    partial = folder.with_name(folder.name + ".tmp")
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    return partial


def _put(partial: Path, folder: Path) -> None:
    """Give a complete folder its name; an earlier one leaves only then."""
    mask = os.umask(0)
    os.umask(mask)
    for path in partial.iterdir():
        path.chmod(0o666 & ~mask)  # safetensors' own files are for their owner only
    for path in (partial, *partial.iterdir()):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    old = folder.with_name(folder.name + ".old")
    if folder.exists():
        if old.exists():
            shutil.rmtree(old)
        folder.rename(old)
    partial.rename(folder)
    if old.exists():
        shutil.rmtree(old)
