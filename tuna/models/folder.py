"""What a Hugging Face model folder must hold before any weights are read, and the hash of what it holds."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from transformers import AutoConfig, PretrainedConfig

from tuna.errors import ModelError

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "tokenizer_config.json",
)
SMALL_FILES = ("*.json", "*.model", "*.txt", "*.jinja", "*.md")  # everything but the weights
PICKLES = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt")
INDEX = "model.safetensors.index.json"
SAMPLES, SAMPLE_BYTES = 64, 65536
# Keys of config.json that say where a model lies or who wrote it, not what it is.
NOT_IDENTITY = ("_name_or_path", "transformers_version", "dtype", "torch_dtype", "_commit_hash", "use_cache")

CONVERT = (
    "convert it once: python -c \"from transformers import AutoModelForCausalLM as M; m = M.from_pretrained('{0}'); "
    "m.save_pretrained('{0}-safetensors')\", copy the tokenizer's files there, and give that folder"
)


def read_config(folder: Path, trust_remote_code: bool = False) -> PretrainedConfig:
    """The model's config.

    Raises:
        ModelError: config.json is missing or no JSON, or its ``model_type`` is unknown to transformers.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise ModelError(f"{folder}: no config.json, so this is no model folder; {_near(folder)}")
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        kind = raw["model_type"]
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: expected a JSON object with model_type ({error})") from error
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except Exception as error:
        hint = "set model.trust_remote_code=true if you trust its code" if "auto_map" in raw else "update transformers"
        raise ModelError(
            f"{path}: transformers cannot read a model of type {kind!r} ({_line(error)}); {hint}"
        ) from error
    assert isinstance(config, PretrainedConfig)
    return config


def check_tokenizer(folder: Path) -> None:
    """Raises ModelError where the folder holds no tokenizer."""
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise ModelError(
            f"{folder}: no tokenizer (none of {', '.join(TOKENIZER_FILES)}); save the one the model was trained with "
            f"there: AutoTokenizer.from_pretrained(...).save_pretrained('{folder}')"
        )


def weight_files(folder: Path) -> list[Path]:
    """The folder's safetensors files, in name order.

    Raises:
        ModelError: there are none, only pickled weights, a file is empty or one that the index names is missing.
    """
    index = folder / INDEX
    if index.is_file():
        named = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    else:
        named = ["model.safetensors"]
    files = [folder / name for name in named]
    missing = [file.name for file in files if not (file.is_file() and file.stat().st_size > 8)]
    if not missing:
        return files
    if index.is_file():
        raise ModelError(
            f"{folder}: {INDEX} names {', '.join(missing)}, which is missing or empty; copy the folder anew"
        )
    if (folder / "adapter_config.json").is_file():
        raise ModelError(
            f"{folder}: a LoRA adapter, not a whole model; give the model/ folder beside it (merged weights)"
        )
    pickles = sorted(file.name for pattern in PICKLES for file in folder.glob(pattern))
    if pickles:
        raise ModelError(
            f"{folder}: weights only as {pickles[0]}, a pickle, which can run code when it is read; "
            + CONVERT.format(folder)
        )
    raise ModelError(f"{folder}: no weights (model.safetensors, or {INDEX} with its files); {_near(folder)}")


def fingerprint(folder: Path) -> str:
    """Hex SHA-256 that names a model by its config and weights, never by its path.

    It covers config.json (sorted; without the keys of NOT_IDENTITY) and, of each safetensors file in name order, its
    size, its header (names, shapes, dtypes, offsets) and 64 evenly spaced blocks of 64 KiB: the whole of files up to
    4 MiB, a fast and sufficient sample of larger ones, since training moves weights everywhere.
    """
    digest = hashlib.sha256()
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    kept = {key: value for key, value in config.items() if key not in NOT_IDENTITY}
    digest.update(json.dumps(kept, sort_keys=True).encode())
    for file in weight_files(folder):
        size = file.stat().st_size
        with file.open("rb") as stream:
            length = stream.read(8)
            digest.update(size.to_bytes(8, "little") + length)
            digest.update(stream.read(int.from_bytes(length, "little")))
            start = stream.tell()
            step = max(SAMPLE_BYTES, (size - start - SAMPLE_BYTES) // (SAMPLES - 1))
            for number in range(SAMPLES):
                stream.seek(min(start + number * step, size))
                digest.update(stream.read(SAMPLE_BYTES))
    return digest.hexdigest()


def tensor_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor stored in the folder's safetensors files, from their headers alone."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, entry in _entries(folder).items():
        shapes[name] = tuple(entry["shape"])
    return shapes


def stored_dtype(folder: Path) -> str:
    """The dtype of the folder's floating-point weights as torch names it: that of the most elements."""
    names = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
    counts: dict[str, int] = {}
    for entry in _entries(folder).values():
        if entry["dtype"] in names:
            size = 1
            for length in entry["shape"]:
                size *= length
            counts[entry["dtype"]] = counts.get(entry["dtype"], 0) + size
    return names[max(counts, key=lambda key: counts[key])] if counts else "float32"


def _entries(folder: Path) -> dict[str, dict[str, Any]]:
    entries: dict[str, dict[str, Any]] = {}
    for file in weight_files(folder):
        with file.open("rb") as stream:
            header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
        entries |= {name: entry for name, entry in header.items() if name != "__metadata__"}
    return entries


def _near(folder: Path) -> str:
    """What lies near that could have been meant."""
    if not folder.is_dir():
        return "the folder does not exist"
    found = [child for child in sorted(folder.iterdir()) if (child / "config.json").is_file()]
    return f"did you mean {found[0]}?" if found else f"give a folder written by save_pretrained, not {folder}"


def _line(error: BaseException) -> str:
    """The first sentence of a library's message."""
    return re.split(r"\n|\. ", str(error).strip() or type(error).__name__)[0][:200]
