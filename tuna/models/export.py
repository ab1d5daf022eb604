"""From a scorer, sharded or not, to a Hugging Face folder that transformers and vLLM load."""

import copy
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from transformers import GenerationConfig, PreTrainedTokenizerBase

from tuna.errors import ModelError
from tuna.models.folder import as_list, stored_dtype, tensor_shapes
from tuna.models.lora import ADAPTER, merge, rebuilt, with_shared_names
from tuna.models.source import Resolved
from tuna.models.weights import not_finite

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
    ends: Sequence[int] = (),
) -> None:
    """Write ``scorer.model`` to ``folder``: config, safetensors, tokenizer, generation config.

    Every process calls it; sharded weights are gathered to the CPU of process 0, which writes to ``folder``.tmp and
    renames it when complete (an earlier ``folder`` is replaced). With LoRA the model is written merged (tied weights
    that differ after it are written both, and the config ties none), and the adapter in peft's layout to ``adapter``
    beside ``folder``.

    resolved: the starting model, whose generation config and tokenizer files are taken over. tokenizer: written in
    place of those files. dtype: of floating-point weights; "auto" is that of the starting folder. ends: ids of tokens
    that end an answer, added to those that generation_config.json lists. ModelError where tensor names or shapes are
    not the class's, an adapter's tensor would be left out, or a weight is NaN or infinite in ``dtype``.
    """
    state = full_state(scorer)
    if not dist.is_initialized() or dist.get_rank() == 0:
        model: Any = scorer.model
        folder = Path(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        adapter = getattr(model, "peft_config", {}).get(ADAPTER)
        state = with_shared_names(model, state)
        plain, merged = (state, frozenset[str]()) if adapter is None else merge(model, state)
        if adapter is not None:
            _write_adapter(folder.parent / "adapter", model, state, adapter, resolved)
        name = stored_dtype(resolved.weights_folder) if dtype == "auto" else dtype
        partial = _fresh(folder)
        _write_weights(partial, plain, model, getattr(torch, name), merged)
        if tokenizer is not None:
            tokenizer.save_pretrained(partial)
        else:
            _copy(resolved.folder, partial, *TOKENIZER)
        if model.can_generate():
            _write_generation(partial, resolved, ends)
        _put(partial, folder)
    if dist.is_initialized():
        dist.barrier()


def full_state(scorer: nn.Module) -> dict[str, Tensor]:
    """The model's whole state dict on the CPU, without the scorer's prefix; empty on processes other than 0."""
    if dist.is_initialized():
        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        state: dict[str, Any] = get_model_state_dict(scorer, options=options)
    else:
        state = {name: tensor.detach().cpu() for name, tensor in scorer.state_dict().items()}
    return {name.removeprefix("model."): tensor for name, tensor in state.items()}


def _write_weights(
    partial: Path, state: dict[str, Tensor], model: object, dtype: torch.dtype, merged: frozenset[str]
) -> None:
    """Let a fresh model of the same class, with these weights, save itself: names and tied set are transformers'."""
    fresh = rebuilt(model, state, dtype, merged=merged)
    if bad := not_finite(fresh.named_parameters()):
        raise ModelError(
            f"export: {bad[0]} holds NaN or infinity in {str(dtype).removeprefix('torch.')}, so no model was written; "
            "next: the same command with resume=auto model.export_dtype=float32"
        )
    if fresh.can_generate():
        fresh.generation_config = type(fresh.generation_config)()  # the starting folder's file is copied instead
    conversions = getattr(model, "_weight_conversions", None)
    if conversions is not None:
        fresh._weight_conversions = conversions
    fresh.save_pretrained(partial)
    if conversions is None:
        tied, written = set(fresh.all_tied_weights_keys), tensor_shapes(partial)
        wanted = {name: tuple(tensor.shape) for name, tensor in fresh.state_dict().items() if name not in tied}
        if written != wanted:
            odd = sorted(set(written.items()) ^ set(wanted.items()))[:4]
            raise ModelError(f"export: the tensors written to {partial} are not the model's: {odd}")


def _write_generation(partial: Path, resolved: Resolved, ends: Sequence[int]) -> None:
    """The starting folder's generation_config.json, or what its config stands for, with all of ``ends``."""
    target = partial / "generation_config.json"
    target.unlink(missing_ok=True)  # save_pretrained's, which lists no end at all
    _copy(resolved.folder, partial, target.name)
    if target.is_file():
        values = json.loads(target.read_text(encoding="utf-8"))
    else:
        values = GenerationConfig.from_model_config(resolved.config).to_diff_dict()
    listed = as_list(values.get("eos_token_id"))
    if set(ends) <= set(listed):
        return
    listed = listed or as_list(getattr(resolved.config.get_text_config(), "eos_token_id", None))
    values["eos_token_id"] = list(dict.fromkeys([*listed, *ends]))
    target.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _write_adapter(folder: Path, model: Any, state: dict[str, Tensor], config: Any, resolved: Resolved) -> None:
    """The adapter as peft writes it, with the tensors that were trained in full and those that have new rows."""
    from safetensors.torch import save_file

    whole = [n for n, p in model.named_parameters() if p.requires_grad and ".lora_" not in n]
    old, new = (each.get_text_config().vocab_size for each in (resolved.config, model.config))
    ends = (model.get_input_embeddings(), model.get_output_embeddings()) if old != new else ()
    grown = tuple(f"{name}." for name, module in model.named_modules() if module in ends)
    partial = _fresh(folder)
    config = copy.deepcopy(config)
    config.base_model_name_or_path, config.inference_mode = resolved.source, True
    config.modules_to_save = sorted({name.rpartition(".")[0] for name in whole}) or None
    config.save_pretrained(str(partial))
    tensors = {
        "base_model.model." + name.removesuffix(f".{ADAPTER}").replace(f".{ADAPTER}.", "."): tensor.clone().contiguous()
        for name, tensor in state.items()
        if ".lora_" in name or name in whole or name.startswith(grown)
    }
    save_file(tensors, str(partial / "adapter_model.safetensors"), metadata={"format": "pt"})
    _put(partial, folder)


def _copy(start: Path, partial: Path, *names: str) -> None:
    for name in names:
        if (start / name).is_file():
            shutil.copyfile(start / name, partial / name)


def _fresh(folder: Path) -> Path:
    partial = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    return partial


def _put(partial: Path, folder: Path) -> None:
    """Give a complete folder its name; an earlier one leaves only then."""
    mask = os.umask(0)
    os.umask(mask)
    for path in (*partial.iterdir(), partial):
        if path != partial:
            path.chmod(0o666 & ~mask)  # safetensors' own files are for their owner only
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    old = folder.with_name(folder.name + ".old")
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
    partial.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
