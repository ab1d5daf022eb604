"""What a Hugging Face model folder must hold before any weights are read, and the hash of what it holds."""

import hashlib
import json
import re
from collections import Counter
from math import prod
from pathlib import Path, PurePosixPath
from typing import Any

from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, PretrainedConfig, PreTrainedTokenizerBase

from tuna.data.fields import describe, parse_json
from tuna.data.rows import is_pointer
from tuna.errors import ModelError

TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tokenizer_config.json"
)  # fmt: skip
SMALL_FILES = ("*.json", "*.model", "*.txt", "*.jinja", "*.md")  # everything but the weights
PICKLES = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt")
WEIGHTS, INDEX, ADAPTER = "model.safetensors", "model.safetensors.index.json", "adapter_config.json"
# Sizes of config.json under their names in different architectures, with more than any model has.
SIZES = {
    **dict.fromkeys(("num_hidden_layers", "n_layer", "num_layers"), 10_000),
    **dict.fromkeys(("vocab_size", "hidden_size", "n_embd", "d_model", "num_attention_heads", "n_head"), 100_000_000),
    **dict.fromkeys(("max_position_embeddings", "n_positions"), 1_000_000_000),
}
SAMPLES, SAMPLE_BYTES = 64, 65536
# Keys of config.json that say where a model lies or who wrote it, not what it is.
NOT_IDENTITY = ("_name_or_path", "transformers_version", "dtype", "torch_dtype", "_commit_hash", "use_cache")


def read_config(folder: Path, trust_remote_code: bool = False) -> PretrainedConfig:
    """The model's config.

    Raises: ModelError where config.json is missing or malformed, has an unknown ``model_type`` or a size out of range,
    or where the folder holds a LoRA adapter alone.
    """
    path = folder / "config.json"
    if (folder / ADAPTER).is_file():  # transformers would take the weights from the base model that it names
        raise ModelError(
            f"{folder}: a LoRA adapter ({ADAPTER}), not a whole model; give the model/ folder beside it (merged "
            "weights), or merge it into its model with peft's merge_and_unload"
        )
    if not path.is_file():
        raise ModelError(f"{folder}: no config.json, so this is no model folder; {_near(folder)}")
    raw = read_object(path)
    kind = raw.get("model_type")
    if not isinstance(kind, str):
        raise ModelError(f"{path}: expected a JSON object with model_type, a text, got {kind!r}")
    named = raw.get("architectures") or []
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise ModelError(f"{path}: architectures: expected a list of class names, got {named!r:.40}")
    within = raw.get("text_config")
    for key, value in [*raw.items(), *(within.items() if isinstance(within, dict) else ())]:
        if key in SIZES and value is not None and (type(value) is not int or not 0 < value <= SIZES[key]):
            raise ModelError(
                f"{path}: {key}: expected a whole number from 1 to {SIZES[key]}, got {value!r:.40}; copy the config "
                "that belongs to the weights"
            )
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except Exception as error:
        if "auto_map" in raw:
            hint = "set model.trust_remote_code=true if you trust its code"
        else:
            hint = "copy the config.json that belongs to the weights, or update transformers"
        raise ModelError(
            f"{path}: transformers cannot read a model of type {kind!r} ({explain(error)}); {hint}"
        ) from error
    assert isinstance(config, PretrainedConfig)
    if config.is_encoder_decoder:
        raise ModelError(
            f"{path}: an encoder-decoder ({kind}), as T5 and T0 are; expected a causal language model. Next, to "
            "measure it: have it answer elsewhere, then evaluate.py answers=FILE (docs/evaluation.md)"
        )
    return config


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object that one of a model's small files holds; raises ModelError where it holds something else."""
    try:
        data = path.read_bytes()
        _refuse_pointer(path, data)
        found = parse_json(data)
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: expected a JSON object, got what cannot be read ({error}); copy it anew") from error
    if not isinstance(found, dict):
        raise ModelError(f"{path}: expected a JSON object, got {describe(found)}; copy it anew")
    return found


def _refuse_pointer(path: Path, head: bytes) -> None:
    if is_pointer(head):
        raise ModelError(f"{path}: a Git-LFS pointer, not the file itself; next: git lfs pull, in its clone")


def check_tokenizer(folder: Path) -> None:
    """Raises ModelError where there is no tokenizer, or a small file is empty, broken or a Git-LFS pointer."""
    for path in sorted(path for pattern in SMALL_FILES for path in folder.glob(pattern) if path.is_file()):
        with path.open("rb") as file:
            head = file.read(64)
        _refuse_pointer(path, head)
        if not head and path.suffix not in (".md", ".txt"):
            raise ModelError(f"{path}: expected a file of a model or tokenizer, got an empty one; copy it anew")
        if path.name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
            read_object(path)
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise ModelError(
            f"{folder}: no tokenizer (none of {', '.join(TOKENIZER_FILES)}); save the one the model was trained with "
            f"there: AutoTokenizer.from_pretrained(...).save_pretrained('{folder}')"
        )


def check_special_ids(folder: Path, tokenizer: PreTrainedTokenizerBase, rows: int) -> None:
    """Raises ModelError where config.json or generation_config.json names a token beyond the embedding's ``rows``."""
    for path in (folder / "config.json", folder / "generation_config.json"):
        held = read_object(path) if path.is_file() else {}
        for key in ("bos_token_id", "eos_token_id", "pad_token_id"):
            for each in as_list(held.get(key)):
                unset = each == -1 and key == "pad_token_id"  # as the first Llamas have it
                if not unset and (type(each) is not int or not 0 <= each < rows):
                    raise ModelError(
                        f"{path}: {key}: expected an id below the embedding's {rows} rows, got {each!r:.40}; set the "
                        f"tokenizer's, {getattr(tokenizer, key)}"
                    )


def as_list(value: object) -> list[Any]:
    """The values of a key that may hold one, a list of them, or nothing (None)."""
    return value if isinstance(value, list) else [] if value is None else [value]


def weight_files(folder: Path) -> list[Path]:
    """The folder's safetensors files by name; ModelError where one is missing or empty, or there are none."""
    index = folder / INDEX
    named = sorted(set(_weight_map(index).values())) if index.is_file() else [WEIGHTS]
    if index.is_file() and WEIGHTS not in named and (folder / WEIGHTS).exists():
        raise ModelError(f"{folder}: holds both {WEIGHTS} and {INDEX}, which names others; remove the one that is old")
    files = [folder / name for name in named]
    missing = [file.name for file in files if not (file.is_file() and file.stat().st_size > 8)]
    if not missing:
        return files
    if index.is_file():
        raise ModelError(
            f"{folder}: {INDEX} names {', '.join(missing)}, which is missing or empty; copy the folder anew"
        )
    if pickles := sorted(file.name for pattern in PICKLES for file in folder.glob(pattern)):
        raise ModelError(
            f"{folder}: weights only as {pickles[0]}, a pickle, which can run code when it is read; convert it once: "
            f"python -c \"from transformers import AutoModelForCausalLM as M; m = M.from_pretrained('{folder}'); "
            f"m.save_pretrained('{folder}-safetensors')\", copy the tokenizer's files there, and give that folder"
        )
    raise ModelError(f"{folder}: no weights ({WEIGHTS}, or {INDEX} with its files); {_near(folder)}")


def _weight_map(index: Path) -> dict[str, str]:
    """Tensor -> file, by an index. Links are followed, as the hub's cache has them; a name leads nowhere else."""
    held = read_object(index).get("weight_map")
    if not isinstance(held, dict) or not held or not all(isinstance(name, str) for name in held.values()):
        raise ModelError(f"{index}: weight_map: expected an object of file names, got {describe(held)}; copy it anew")
    for name in held.values():
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or not name.endswith(".safetensors"):
            raise ModelError(f"{index}: weight_map: expected names of .safetensors files beside it, got {name!r}")
    return held


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
    return {name: shape for name, (_, shape) in stored_tensors(folder).items()}


def stored_parameters(folder: Path) -> int:
    """How many numbers the tensors of the folder's safetensors files hold, from their headers alone."""
    return sum(map(prod, tensor_shapes(folder).values()))


def stored_dtype(folder: Path) -> str:
    """The dtype, as torch names it, of most of the folder's floating-point elements; "float32" where it has none."""
    names = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
    counts = Counter[str]()
    for dtype, shape in stored_tensors(folder).values():
        counts[names.get(dtype, "")] += prod(shape)
    del counts[""]
    return max(counts, key=counts.__getitem__, default="float32")


def stored_tensors(folder: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Name -> dtype (as safetensors names it) and shape of each tensor in the folder's files, from their headers alone.

    Raises: ModelError where safetensors finds a file unsound, two files hold one tensor, or none holds an indexed one.
    """
    entries: dict[str, tuple[str, tuple[int, ...]]] = {}
    where: dict[str, str] = {}
    for file in weight_files(folder):
        with file.open("rb") as stream:
            _refuse_pointer(file, stream.read(64))
        try:
            with safe_open(file, framework="pt") as held:
                slices = {name: held.get_slice(name) for name in held.keys()}  # noqa: SIM118 - it is no mapping
                found = {name: (str(s.get_dtype()), tuple(s.get_shape())) for name, s in slices.items()}
        except (SafetensorError, OSError, ValueError) as error:
            why = explain(error)
            raise ModelError(f"{file}: no sound safetensors file ({why}); copy or download it anew") from error
        if twice := sorted(found.keys() & entries.keys()):
            raise ModelError(f"{file}: holds {twice[0]}, which {where[twice[0]]} holds too; copy the folder anew")
        entries |= found
        where |= dict.fromkeys(found, file.name)
    if (folder / INDEX).is_file() and (lacking := sorted(_weight_map(folder / INDEX).keys() - entries.keys())):
        raise ModelError(f"{folder / INDEX}: names {lacking[0]}, which no file holds; copy the folder anew")
    return entries


def _near(folder: Path) -> str:
    """What lies near that could have been meant."""
    if not folder.is_dir():
        return "the folder does not exist"
    found = min(folder.glob("*/config.json"), default=None)
    return f"did you mean {found.parent}?" if found else f"give a folder written by save_pretrained, not {folder}"


def explain(error: BaseException) -> str:
    """The first sentence of a library's message."""
    text = re.sub(r":\s*\n\s*", ": ", str(error).strip()) or type(error).__name__
    return re.split(r"\n|\. ", text)[0][:200]
