"""Safetensors files written tensor by tensor, byte for byte as safetensors and transformers write them at once."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import torch
from huggingface_hub import split_torch_state_dict_into_shards
from torch import Tensor

from tuna.errors import ModelError
from tuna.models.folder import INDEX, WEIGHTS

MOST = "50GB"  # of a file, as save_pretrained has it
PIECE = 1 << 20  # elements that are converted and written at a time
# In the order in which safetensors lays out tensors, from behind.
CODES = {
    torch.bool: "BOOL", torch.uint8: "U8", torch.int8: "I8", torch.int16: "I16", torch.float16: "F16",
    torch.bfloat16: "BF16", torch.int32: "I32", torch.float32: "F32", torch.float64: "F64", torch.int64: "I64",
}  # fmt: skip
_RANKS = {dtype: rank for rank, dtype in enumerate(CODES)}


@dataclass(frozen=True, slots=True)
class Group:
    """Tensors of a file that are made together, of the model's weight ``origin`` (and others).

    tensors: what comes, by the name in the file, on the meta device. fetch: makes them, in any floating-point type;
    None on processes other than 0, all of which have to call it.
    """

    origin: str
    tensors: Mapping[str, Tensor]
    fetch: Callable[[], Mapping[str, Tensor] | None]


def write(folder: Path | None, groups: Sequence[Group], *, file: str = WEIGHTS, parameters: int = 0) -> None:
    """Write the safetensors files, and their index where there are several; ``folder`` is None but on process 0.

    file: the name where there is one. parameters: their number, for the index. Raises: ModelError where a tensor holds
    NaN or infinity in the type that it is written in.
    """
    tensors = {name: tensor for group in groups for name, tensor in group.tensors.items()}
    pattern = file.replace(".safetensors", "{suffix}.safetensors")
    split = split_torch_state_dict_into_shards(tensors, filename_pattern=pattern, max_shard_size=MOST)
    heads, places = {}, dict[str, tuple[str, int]]()
    for name, names in split.filename_to_tensors.items():
        heads[name], offsets = header({each: tensors[each] for each in names})
        places |= {each: (name, offset) for each, offset in offsets.items()}
    with ExitStack() as stack:
        streams = {}
        if folder:
            for name, head in heads.items():
                streams[name] = stack.enter_context((folder / name).open("wb"))
                streams[name].write(head)
        for group in sorted(groups, key=lambda group: min(places[name] for name in group.tensors)):
            _write_group(group, streams, places)
    if folder and split.is_sharded:
        metadata = {"total_parameters": parameters, **split.metadata}
        text = json.dumps({"metadata": metadata, "weight_map": split.tensor_to_filename}, indent=2, sort_keys=True)
        (folder / INDEX).write_text(text + "\n", encoding="utf-8")


def _write_group(group: Group, streams: Mapping[str, BinaryIO], places: Mapping[str, tuple[str, int]]) -> None:
    """In a function of its own, so that one group is let go of before the next is made."""
    for name, tensor in (group.fetch() or {}).items():
        wanted = group.tensors[name]
        assert tensor.shape == wanted.shape, (name, tensor.shape, wanted.shape)
        stream = streams[places[name][0]]
        stream.seek(places[name][1])
        for piece in tensor.reshape(-1).split(PIECE):
            piece = piece.to(wanted.dtype)
            if wanted.is_floating_point() and not piece.isfinite().all():
                kind = str(wanted.dtype).removeprefix("torch.")
                raise ModelError(
                    f"export: {group.origin} holds NaN or infinity in {kind}, so no model was written; next: the same "
                    "command with resume=auto model.export_dtype=float32"
                )
            stream.write(piece.view(torch.uint8).numpy())


def header(tensors: Mapping[str, Tensor]) -> tuple[bytes, dict[str, int]]:
    """How a safetensors file of these tensors begins, and at which byte each one's data does.

    8 bytes little-endian: the length of the JSON text that follows, padded to a multiple of 8; then the data, larger
    types first, by name. https://github.com/huggingface/safetensors#format

    >>> start, places = header({"a": torch.empty(2, 3)})
    >>> start[8:46], places
    (b'{"__metadata__":{"format":"pt"},"a":{"', {'a': 96})
    """
    about: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    starts, end = {}, 0
    for name in sorted(tensors, key=lambda name: (-_RANKS[tensors[name].dtype], name)):
        tensor = tensors[name]
        starts[name], end = end, end + prod(tensor.shape) * tensor.dtype.itemsize
        about[name] = {"dtype": CODES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [starts[name], end]}
    text = json.dumps(about, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, {name: 8 + len(text) + start for name, start in starts.items()}
