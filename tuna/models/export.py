"""From a scorer, sharded or not, to a Hugging Face folder that transformers and vLLM load."""

import copy
import json
import os
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedTokenizerBase
from transformers.core_model_loading import (
    WeightConverter,
    WeightTransform,
    apply_converters,
    dot_natural_key,
    revert_weight_conversion,
)

from tuna.errors import ModelError
from tuna.models.folder import WEIGHTS, as_list, stored_dtype
from tuna.models.lora import ADAPTER, Fetch, merge, rebuilt
from tuna.models.quantized import dequantized
from tuna.models.shards import whole
from tuna.models.source import Resolved
from tuna.models.writing import Group, write

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

    Every process calls it; process 0 is given one weight at a time, which it writes to ``folder``.tmp, renamed when
    complete (an earlier ``folder`` is replaced). With LoRA the model is written merged (tied weights that differ after
    it are written both, and the config ties none), and the adapter in peft's layout to ``adapter`` beside ``folder``.

    resolved: the starting model, whose generation config and tokenizer files are taken over. tokenizer: written in
    place of those files. dtype: of floating-point weights; "auto" is that of the starting folder. ends: ids of tokens
    that end an answer, added to those that generation_config.json lists. ModelError where tensor names or shapes are
    not the class's, an adapter's tensor would be left out, or a weight is NaN or infinite in ``dtype``.
    """
    model: Any = scorer.model
    folder = Path(folder)
    # of the scorer, which is what is sharded: it has its parameters resharded first
    tensors = {n.removeprefix("model."): t for n, t in scorer.state_dict().items() if n.startswith("model.")}
    state = dequantized(model, {name: partial(whole, tensor) for name, tensor in tensors.items()})
    adapter = getattr(model, "peft_config", {}).get(ADAPTER)
    plain, merged = (state, frozenset[str]()) if adapter is None else merge(model, state)
    fresh = rebuilt(model, _kind(resolved, dtype), merged=merged)
    if odd := sorted(fresh.state_dict().keys() ^ plain.keys()):
        raise ModelError(f"export: weights without a value, or without a place in the model: {', '.join(odd[:3])}")
    if adapter is not None:
        with _appears(folder.parent / "adapter") as target:
            _write_adapter(target, model, tensors, adapter, resolved)
    with _appears(folder) as target:
        _write_weights(target, plain, fresh, getattr(model, "_weight_conversions", None))
        if target:
            if tokenizer is not None:
                tokenizer.save_pretrained(target)
            else:
                _copy(resolved.folder, target, *TOKENIZER)
            if model.can_generate():
                _write_generation(target, resolved, ends)
    if dist.is_initialized():
        dist.barrier()


def _kind(resolved: Resolved, dtype: str) -> torch.dtype:
    kind = getattr(torch, stored_dtype(resolved.weights_folder) if dtype == "auto" else dtype)
    assert isinstance(kind, torch.dtype)
    return kind


def _write_weights(
    target: Path | None, plain: Mapping[str, Fetch], fresh: Any, conversions: list[WeightTransform] | None
) -> None:
    """The weights by the names, and in the layout, that ``fresh`` would save; by itself it saves the rest."""
    fresh._weight_conversions = conversions or []
    if target:
        if fresh.can_generate():
            fresh.generation_config = type(fresh.generation_config)()  # the starting folder's file is copied instead
        fresh.save_pretrained(target, state_dict={})
        (target / WEIGHTS).unlink(missing_ok=True)  # with no tensors
    left_out = {*fresh.all_tied_weights_keys, *(fresh._keys_to_ignore_on_save or ())}
    state = {name: tensor for name, tensor in fresh.state_dict().items() if name not in left_out}
    back: list[Any] = [r.reverse_transform() for r in reversed(conversions or ()) if isinstance(r, WeightConverter)]
    together = defaultdict[str, list[str]](list)  # experts that transformers stacked are stored one by one
    for name in sorted(state, key=dot_natural_key):
        together[apply_converters(name, back)[0]].append(name)
    groups = []
    for names in together.values():
        stored = {n: torch.empty_like(t) for n, t in _reverted(fresh, {name: state[name] for name in names}).items()}
        fetch = partial(_stored, {name: plain[name] for name in names}, fresh)
        groups.append(Group(names[0], stored, fetch))
    write(target, groups, parameters=fresh.num_parameters())


def _stored(fetches: Mapping[str, Fetch], fresh: Any = None) -> dict[str, Tensor] | None:
    """Weights as the files have them, on process 0."""
    fetched = {name: fetch() for name, fetch in fetches.items()}
    found = {name: tensor for name, tensor in fetched.items() if tensor is not None}
    return None if len(found) < len(fetched) else _reverted(fresh, found) if fresh else found


def _reverted(fresh: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return revert_weight_conversion(fresh, tensors)  # type: ignore[no-any-return]


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


def _write_adapter(
    target: Path | None, model: Any, tensors: Mapping[str, Tensor], config: Any, resolved: Resolved
) -> None:
    """The adapter as peft writes it, with the tensors that were trained in full and those that have new rows."""
    trained = [n for n, p in model.named_parameters() if p.requires_grad and ".lora_" not in n]
    old, new = (each.get_text_config().vocab_size for each in (resolved.config, model.config))
    ends = (model.get_input_embeddings(), model.get_output_embeddings()) if old != new else ()
    grown = tuple(f"{name}." for name, module in model.named_modules() if module in ends)
    if target:
        config = copy.deepcopy(config)
        config.base_model_name_or_path, config.inference_mode = resolved.source, True
        config.modules_to_save = sorted({name.rpartition(".")[0] for name in trained}) or None
        config.save_pretrained(str(target))
    groups = []
    for name, tensor in tensors.items():
        if ".lora_" in name or name in trained or name.startswith(grown):
            key = "base_model.model." + name.removesuffix(f".{ADAPTER}").replace(f".{ADAPTER}.", ".")
            blank = torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")
            groups.append(Group(name, {key: blank}, partial(_stored, {key: partial(whole, tensor)})))
    write(target, groups, file="adapter_model.safetensors")


def _copy(start: Path, partial: Path, *names: str) -> None:
    for name in names:
        if (start / name).is_file():
            shutil.copyfile(start / name, partial / name)


@contextmanager
def _appears(folder: Path) -> Iterator[Path | None]:
    """On process 0 a new folder to write to, which takes the place of ``folder`` at the end; None on the others."""
    if dist.is_initialized() and dist.get_rank() > 0:
        yield None
        return
    target = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    try:
        yield target
    except Exception:
        shutil.rmtree(target, ignore_errors=True)
        raise
    _put(target, folder)


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
