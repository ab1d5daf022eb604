"""Damaged model folders: one message that names the file and what to do, before any weights are read."""

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from tuna.errors import ModelError
from tuna.models.folder import INDEX, read_config, tensor_shapes, weight_files
from tuna.models.source import ModelConfig

pytestmark = pytest.mark.once  # computes nothing that kernels could round

Make = Callable[..., Path]
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 4000000\n"


def refused(folder: Path, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        ModelConfig(path=str(folder)).resolve()


@pytest.mark.parametrize(
    "name",
    [
        "config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json", "model.safetensors", INDEX,
        "chat_template.jinja",
    ],
)  # fmt: skip
def test_a_git_lfs_pointer_is_called_one(make_llama: Make, name: str) -> None:
    folder = make_llama()
    (folder / name).write_bytes(POINTER)
    refused(folder, rf"{name}: a Git-LFS pointer, not the file itself; next: git lfs pull")


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "generation_config.json", INDEX])
@pytest.mark.parametrize(
    "content", [b"[1]", b"{", b"\xff", b'{"a": ' + b"[" * 5000, b'{"a": ' + b"1" * 5000 + b"}", b"7"]
)
def test_a_small_file_that_holds_something_else(make_llama: Make, name: str, content: bytes) -> None:
    folder = make_llama()
    (folder / name).write_bytes(content)
    refused(folder, rf"{name}: expected a JSON object.*copy it anew")


def test_an_encoder_decoder_is_measured_by_its_answers(make_llama: Make) -> None:
    folder = make_llama()
    (folder / "config.json").write_text(
        json.dumps({"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]})
    )
    refused(folder, r"config\.json: an encoder-decoder \(t5\), as T5 and T0 are; .* evaluate\.py answers=FILE")


def test_an_empty_template_is_no_template_left_out(make_llama: Make) -> None:
    folder = make_llama()
    (folder / "chat_template.jinja").write_bytes(b"")
    refused(folder, r"chat_template\.jinja: .*got an empty one")


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: struct.pack("<Q", 2**63) + data[8:],  # a header of that many bytes
        lambda data: struct.pack("<Q", len(data)) + data[8:],
        lambda data: data[:8] + b"[" + data[9:],
        lambda data: data[:8] + bytes(len(data) - 8),
        lambda data: data[:-1],
        lambda data: data + b"more",
        lambda data: data[: len(data) // 2],
    ],
)
def test_a_header_that_is_not_sound(make_llama: Make, damage: Callable[[bytes], bytes]) -> None:
    folder = make_llama()
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(damage(data))
    refused(folder, r"model\.safetensors: no sound safetensors file \(.*\); copy or download it anew")


@pytest.mark.parametrize(
    "changed",
    [{"data_offsets": [0, 64]}, {"data_offsets": [-128, 0]}, {"data_offsets": [2**40, 2**40 + 128]}, {"dtype": "X9"},
     {"shape": [2**62, 2**62]}, {"shape": [-32]}, {"shape": [31]}],
)  # fmt: skip
def test_an_entry_that_is_not_sound(make_llama: Make, changed: dict[str, Any]) -> None:
    folder = make_llama()
    data = (folder / "model.safetensors").read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["model.norm.weight"] |= changed
    new = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(new)) + new + data[end:])
    refused(folder, r"model\.safetensors: no sound safetensors file")


def shard(folder: Path) -> dict[str, str]:
    held = load_file(folder / "model.safetensors")
    files = {name: f"part-{k % 2}.safetensors" for k, name in enumerate(sorted(held))}
    for file in set(files.values()):
        save_file({name: held[name] for name in held if files[name] == file}, folder / file)
    (folder / "model.safetensors").unlink()
    (folder / INDEX).write_text(json.dumps({"weight_map": files}))
    return files


def test_two_files_are_one_model(make_llama: Make) -> None:
    folder = make_llama()
    shapes = tensor_shapes(folder)
    shard(folder)
    assert tensor_shapes(folder) == shapes
    ModelConfig(path=str(folder)).resolve()


@pytest.mark.parametrize(
    "weight_map",
    [None, [], {}, {"a": 5}, {"a": "../x.safetensors"}, {"a": "/x.safetensors"}, {"a": "x/../../y.safetensors"},
     {"a": "pytorch_model.bin"}],
)  # fmt: skip
def test_an_index_that_names_no_files_of_the_folder(make_llama: Make, weight_map: Any) -> None:
    folder = make_llama()
    shutil.copy(folder / "model.safetensors", folder.parent / "x.safetensors")
    shard(folder)
    (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    refused(folder, rf"{INDEX}: weight_map: expected")


def test_two_sets_of_weights_are_not_chosen_from(make_llama: Make) -> None:
    folder = make_llama()
    whole = (folder / "model.safetensors").read_bytes()
    files = shard(folder)
    (folder / "model.safetensors").write_bytes(whole)
    refused(folder, r"both model\.safetensors and .*remove the one that is old")
    (folder / INDEX).write_text(json.dumps({"weight_map": dict.fromkeys(files, "model.safetensors")}))
    assert weight_files(folder) == [folder / "model.safetensors"]
    (folder / INDEX).write_text(
        json.dumps(
            {"weight_map": {**dict.fromkeys(files, "model.safetensors"), "model.norm.weight": "part-0.safetensors"}}
        )
    )
    refused(folder, r"part-0\.safetensors: holds .*, which model\.safetensors holds too|which part-0")


def test_links_as_the_hub_has_them_are_followed(make_llama: Make) -> None:
    folder = make_llama()
    shapes = tensor_shapes(folder)
    (folder.parent / "blobs").mkdir()
    for file in list(folder.iterdir()):
        os.replace(file, folder.parent / "blobs" / file.name)
        file.symlink_to(Path("..") / "blobs" / file.name)
    ModelConfig(path=str(folder)).resolve()
    assert tensor_shapes(folder) == shapes


def test_an_adapters_config_beside_whole_weights_would_lead_elsewhere(make_llama: Make) -> None:
    folder = make_llama()
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "/elsewhere"}')
    refused(folder, r"a LoRA adapter \(adapter_config\.json\), not a whole model; give the model/ folder")
    (folder / "config.json").unlink()
    refused(folder, r"a LoRA adapter")


@pytest.mark.parametrize(
    ("key", "value"),
    [("num_hidden_layers", 1_000_000), ("num_hidden_layers", 0), ("hidden_size", -1), ("hidden_size", 2**40),
     ("vocab_size", "x"), ("vocab_size", 2.0), ("num_attention_heads", True), ("n_layer", [2])],
)  # fmt: skip
def test_a_size_that_no_model_has(make_llama: Make, key: str, value: Any) -> None:
    for nested in (False, True):
        folder = make_llama()
        held = json.loads((folder / "config.json").read_text())
        held |= {"text_config": {key: value}} if nested else {key: value}
        (folder / "config.json").write_text(json.dumps(held))
        with pytest.raises(ModelError, match=rf"config\.json: {key}: expected a whole number from 1 to"):
            read_config(folder)


@pytest.mark.parametrize("named", [5, [5], {"a": 1}, "LlamaForCausalLM"])
def test_architectures_that_are_no_list_of_names(make_llama: Make, named: Any) -> None:
    folder = make_llama()
    held = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(held | {"architectures": named}))
    refused(folder, r"config\.json: architectures: expected a list of class names")


def test_a_config_without_a_type(make_llama: Make) -> None:
    folder = make_llama()
    for kind in (None, 5, ["llama"]):
        (folder / "config.json").write_text(json.dumps({"model_type": kind}))
        refused(folder, r"config\.json: expected a JSON object with model_type, a text")


def test_a_damaged_tokenizer(make_llama: Make) -> None:
    folder = make_llama()
    held = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(held | {"model": {"type": "BPE", "vocab": [1], "merges": 5}}))
    with pytest.raises(ModelError, match=r"transformers cannot read its tokenizer \(.*\); copy its files anew"):
        ModelConfig(path=str(folder)).tokenizer()
