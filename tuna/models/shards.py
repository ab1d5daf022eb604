"""Weights of a model that no process ever holds whole in float32: each process reads its own slices of the safetensors
files, in the type that they stay in, and process 0 gets one tensor at a time for the export.
"""

import copy
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import safe_open
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, Shard
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset
from torch.nn.modules.module import register_module_parameter_registration_hook
from transformers.core_model_loading import WeightConverter, WeightRenaming, dot_natural_key, rename_source_key

from tuna.errors import ModelError
from tuna.models.check import quiet
from tuna.models.folder import weight_files

Index = tuple[slice, ...]


def tied_twice(blank: Any) -> bool:
    """Whether the files hold both of two tied weights, so that transformers looks at the values before it ties them."""
    named = dict(blank.named_parameters(remove_duplicate=False))
    return any(named[one] is not named[other] for one, other in blank.all_tied_weights_keys.items())


def compute_buffers(blank: Any) -> None:
    """Give a model on the meta device the buffers that its constructor computes, such as the rotary frequencies."""

    def to_meta(module: nn.Module, name: str, parameter: nn.Parameter | None) -> nn.Parameter | None:
        if parameter is None or parameter.is_meta:
            return parameter
        return nn.Parameter(parameter.detach().to("meta"), requires_grad=parameter.requires_grad)

    hook = register_module_parameter_registration_hook(to_meta)  # type: ignore[arg-type]  # what it gives is taken
    try:
        with torch.random.fork_rng(devices=[]), quiet():
            twin = type(blank)._from_config(copy.deepcopy(blank.config))
    finally:
        hook.remove()
    for name, buffer in twin.named_buffers(remove_duplicate=False):
        owner, _, leaf = name.rpartition(".")
        blank.get_submodule(owner)._buffers[leaf] = buffer


@dataclass(frozen=True, slots=True)
class _Stored:
    """A tensor of a file; the file is mapped only while it is read, so that its pages are given back."""

    file: Path
    name: str
    pattern: str = ""  # of the converter of transformers' that takes it, "" where it is a weight as it is

    def shape(self) -> list[int]:
        with safe_open(self.file, framework="pt") as held:
            return list(held.get_slice(self.name).get_shape())

    def read(self, index: Index = ()) -> Tensor:
        with safe_open(self.file, framework="pt") as held:
            return held.get_slice(self.name)[index or ...]  # type: ignore[no-any-return]


@torch.no_grad()
def fill(model: Any, folder: Path) -> None:
    """Read the weights of ``model`` that are on the meta device, sharded ones in part, from ``folder``.

    What has values already (adapters, a fresh head, buffers) keeps them, but for buffers that the files hold. Rows that
    the files lack, which ``grow`` added, become the mean of the others. Weights that transformers converts on load
    (experts that it stacks) are converted one by one.
    """
    wanted = {_plain(name): tensor for name, tensor in model.state_dict().items() if not tensor.is_meta}
    wanted = {name: tensor for name, tensor in wanted.items() if not isinstance(tensor, DTensor)} | _allocate(model)
    left = {name for name, tensor in wanted.items() if isinstance(tensor, nn.Parameter)}
    filled = set[int]()
    rules = getattr(model, "_weight_conversions", None) or ()
    converters = {p: rule for rule in rules if isinstance(rule, WeightConverter) for p in rule.source_patterns}
    for target, stored in _by_target(model, folder, rules).items():
        if not stored[0].pattern:
            found: dict[str, tuple[Callable[[Index], Tensor], Sequence[int]]] = {}
            if target in wanted:
                found[target] = stored[0].read, stored[0].shape()
        else:
            rule = copy.deepcopy(converters[stored[0].pattern])
            for each in stored:
                rule.add_tensor(target, each.name, each.pattern, each.read())  # type: ignore[arg-type]  # or a tensor
            made = rule.convert(target, model=model, config=model.config)
            values = {name: value[0] if isinstance(value, list) else value for name, value in made.items()}
            found = {name: (value.__getitem__, value.shape) for name, value in values.items() if name in wanted}
        for name, (read, shape) in found.items():
            _take(wanted[name], read, list(shape))
            filled.add(id(wanted[name]))
    if lacking := sorted(name for name in left if id(wanted[name]) not in filled):
        raise ModelError(
            f"{folder}: no values were read for {lacking[0]} ({len(lacking)} in all), so this architecture cannot be "
            "loaded by slices; next: the same command on one process (trainer=cpu or trainer=gpu), with LoRA also "
            "model.frozen_dtype=float32"
        )


def _plain(name: str) -> str:
    """A weight's name before LoRA wrapped its layer."""
    return name.replace(".base_layer.", ".")


def _allocate(model: Any) -> dict[str, Tensor]:
    """Replace the parameters on the meta device by ones with memory, of sharded ones for this process's share."""
    made = dict[int, nn.Parameter]()
    found = dict[str, Tensor]()
    for owner, module in model.named_modules():
        for leaf, old in list(module._parameters.items()):
            if old is None or not (old.to_local() if isinstance(old, DTensor) else old).is_meta:
                continue
            if id(old) not in made:
                made[id(old)] = nn.Parameter(_empty(old), requires_grad=old.requires_grad)
            setattr(module, leaf, made[id(old)])
            found[_plain(f"{owner}.{leaf}")] = made[id(old)]
    return found


def _empty(blank: Tensor) -> Tensor:
    if not isinstance(blank, DTensor):
        return torch.empty_like(blank, device="cpu")
    local = torch.empty_like(blank.to_local(), device=blank.device_mesh.device_type)
    return DTensor.from_local(
        local, blank.device_mesh, blank.placements, run_check=False, shape=blank.shape, stride=blank.stride()
    )


def _by_target(model: Any, folder: Path, rules: Sequence[Any]) -> dict[str, list[_Stored]]:
    """What the files hold, by the weight that it goes to: transformers' own rules, those that it has found to apply."""
    renamings = [rule for rule in rules if isinstance(rule, WeightRenaming)]
    converters = [rule for rule in rules if isinstance(rule, WeightConverter)]
    names = {_plain(name): tensor for name, tensor in model.state_dict().items()}
    groups = defaultdict[str, list[_Stored]](list)
    files = dict[str, Path]()
    for file in weight_files(folder):
        with safe_open(file, framework="pt") as held:
            files |= dict.fromkeys(held.keys(), file)
    for name in sorted(files, key=dot_natural_key):
        target, pattern = rename_source_key(name, renamings, converters, model.base_model_prefix, names)
        if target not in names and name in names:
            target, pattern = rename_source_key(name, [], [], model.base_model_prefix, names)
        groups[target].append(_Stored(files[name], name, pattern or ""))
    return groups


def _take(target: Tensor, read: Callable[[Index], Tensor], shape: list[int]) -> None:
    """Copy this process's part of a tensor of this ``shape``, in ``target``'s dtype and to its device."""
    local, index = target, tuple(slice(0, size) for size in target.shape)
    if isinstance(target, DTensor):
        local = target.to_local()
        sizes, offsets = compute_local_shape_and_global_offset(target.shape, target.device_mesh, target.placements)
        index = tuple(slice(start, start + size) for start, size in zip(offsets, sizes, strict=True))
    if not local.numel():
        return
    if shape == list(target.shape):
        local.copy_(read(index))
        return
    rows, *others = index
    kept = min(max(shape[0] - rows.start, 0), len(local))
    if kept:
        local[:kept] = read((slice(rows.start, rows.start + kept), *others))
    if kept < len(local):
        local[kept:] = read(()).float().mean(0)[tuple(others)].to(local)


def whole(tensor: Tensor) -> Tensor | None:
    """The whole tensor on the CPU of process 0, None on others. Of a sharded one every process has to call it."""
    first = not dist.is_initialized() or dist.get_rank() == 0
    if not isinstance(tensor, DTensor):
        return tensor.detach().cpu() if first else None
    sharded: DTensor = tensor
    mesh, local = sharded.device_mesh, sharded.to_local().detach()
    members = mesh.mesh[tuple(slice(None) if p.is_shard() else 0 for p in tensor.placements)].tolist()
    if any(p.is_shard() and p != Shard(0) for p in tensor.placements) or tensor.placements.count(Shard(0)) != 1:
        raise ModelError(f"expected a tensor that is sharded by its rows, got {tensor.placements}")
    if not first:
        if dist.get_rank() in members and local.numel():
            dist.send(local.contiguous(), 0)
        return None
    out = torch.empty(tensor.shape, dtype=tensor.dtype)
    for source, part in zip(members, out.chunk(len(members)), strict=False):  # fewer chunks than members: no more rows
        if source == 0:
            part.copy_(local)
            continue
        received = part if local.device == part.device else torch.empty_like(part, device=local.device)
        dist.recv(received, source)
        if received is not part:
            part.copy_(received)
    return out
