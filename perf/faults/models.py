"""Damaged model folders: one message each, before weights are read."""

import json
import os
import shutil
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from perf.faults.base import CANARY, ROOT, Bench, Trial

TINY = ROOT / "tuna" / "assets" / "models" / "tiny"
RANKED = ROOT / "tuna" / "assets" / "rankings" / "contextual.jsonl"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 4000000\n"
INDEX, WEIGHTS = "model.safetensors.index.json", "model.safetensors"
Break = Callable[[Path], object]


def _trial(
    name: str,
    damage: Break,
    *says: str,
    words: tuple[str, ...] = (),
    code: int = 1,
    kind: str = "model folders",
    sample: bool = False,
    seconds: float = 40.0,
) -> Trial:
    """A folder ``m`` like the embedded model, damaged, that train.py is given. It may not come to a run folder."""

    def run(bench: Bench) -> None:
        folder = bench.folder / "m"
        shutil.copytree(TINY, folder)
        damage(folder)
        given = (
            "model.path=m",
            "name=r",
            "trainer.max_steps=1",
            f"datamodule.path={RANKED}",
            "datamodule.first=8",
            "datamodule.held_out=0",
            "evaluate=false",
            *words,
        )
        ended = bench.run("train", *given, code=code, says=says, never=["HTTPSConnection"], seconds=seconds)
        bench.expect(code == 0 or not (bench.folder / "runs" / "r").exists(), "slow", "it came to a run folder")
        bench.expect(ended.output.count("error: ") == (code != 0), "message", f"not one message: {ended.output[-500:]}")
        bench.expect(len(ended.output) < 3000, "message", f"{len(ended.output)} characters: {ended.output[-500:]}")

    return Trial(kind, name, run, sample)


# --- small files


def _write(name: str, data: bytes) -> Break:
    return lambda folder: (folder / name).write_bytes(data)


def _gone(name: str) -> Break:
    return lambda folder: (folder / name).unlink()


def _in_turn(*damages: Break) -> Break:
    def damage(folder: Path) -> None:
        for each in damages:
            each(folder)

    return damage


def _half(name: str) -> Break:
    return lambda folder: (folder / name).write_bytes(
        (folder / name).read_bytes()[: (folder / name).stat().st_size // 2]
    )


ANYTHING = {
    "empty": b"",
    "a Git-LFS pointer": POINTER,
    "a list": b"[1, 2]",
    "binary": bytes(range(256)),
    "nested 100,000 deep": b'{"a": ' + b"[" * 100_000,
    "nested 500 deep": b'{"a": ' + b"[" * 500 + b"]" * 500 + b"}",
    "a number of 5,000 digits": b'{"a": ' + b"1" * 5000 + b"}",
}


def _small_files() -> list[Trial]:
    trials = []
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json", INDEX):
        for what, data in ANYTHING.items():
            says = (f"m/{name}", "git lfs pull" if data == POINTER else "expected")
            trials.append(
                _trial(f"{name}: {what}", _write(name, data), *says, sample=data == POINTER and name == "config.json")
            )
    for name in ("config.json", "tokenizer.json"):
        trials.append(_trial(f"{name}: cut in half", _half(name), f"m/{name}"))
        trials.append(_trial(f"{name}: missing", _gone(name), "m"))
    for what in ("empty", "a Git-LFS pointer", "binary"):
        trials.append(_trial(f"chat_template.jinja: {what}", _write("chat_template.jinja", ANYTHING[what]), "m"))
    return trials


# --- config.json


def _config(**changes: Any) -> Break:
    return _changed("config.json", changes)


def _changed(name: str, changes: Mapping[str, Any]) -> Break:
    def damage(folder: Path) -> None:
        held = json.loads((folder / name).read_text()) | dict(changes)
        (folder / name).write_text(json.dumps({key: value for key, value in held.items() if value != "-"}))

    return damage


CONFIGS: dict[str, Any] = {
    "model_type": ["frobnicator", "-", [1], None, 7, "bert"],
    "num_hidden_layers": [1_000_000, 9_999, 0, -1, "four", 4.5, 2, 3, 6, True, [4]],
    "hidden_size": [0, -128, 256, 127, 2**31, "x"],
    "vocab_size": [0, -1, 100, 5000, "x", 2**40],
    "num_attention_heads": [0, -4, 3, 8, "x"],
    "intermediate_size": [0, -1, 385, "x", 2**40],
    "tie_word_embeddings": [False],
    "rope_parameters": [{"rope_type": "nonsense"}, 5],
    "hidden_act": ["nonsense", 5],
    "architectures": [5, [5], {"a": 1}],
    "max_position_embeddings": [-5, "x"],
    "eos_token_id": [99_999, "x"],
    "pad_token_id": [99_999],
    "dtype": ["nonsense"],
    "attention_bias": [True],
}


def _configs() -> list[Trial]:
    return [
        _trial(f"config.json: {key} {json.dumps(value)}", _config(**{key: value}), "m")
        for key, values in CONFIGS.items()
        for value in values
    ]


# --- weights


def _header(change: Callable[[dict[str, Any]], object]) -> Break:
    """The same weights under another header."""

    def damage(folder: Path) -> None:
        data = (folder / WEIGHTS).read_bytes()
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])
        change(header)
        new = json.dumps(header).encode()
        new += b" " * (-len(new) % 8)
        (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(new)) + new + data[8 + size :])

    return damage


def _entry(**changes: Any) -> Break:
    def change(header: dict[str, Any]) -> None:
        header["model.norm.weight"] |= changes

    return _header(change)


def _raw(change: Callable[[bytes], bytes]) -> Break:
    return lambda folder: (folder / WEIGHTS).write_bytes(change((folder / WEIGHTS).read_bytes()))


def _tensors(change: Callable[[dict[str, Any]], object]) -> Break:
    def damage(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        held = load_file(folder / WEIGHTS)
        change(held)
        save_file(held, folder / WEIGHTS, metadata={"format": "pt"})

    return damage


def _more_layers(held: dict[str, Any]) -> None:
    held |= {name.replace(".3.", ".4."): held[name].clone() for name in list(held) if ".3." in name}


def _integers(held: dict[str, Any]) -> None:
    held |= {name: tensor.char() for name, tensor in held.items() if "proj" in name}


def _weights() -> list[Trial]:
    long = b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}'
    damages: dict[str, Break] = {
        "empty": _raw(lambda data: b""),
        "a Git-LFS pointer": _raw(lambda data: POINTER),
        "header length 2^63": _raw(lambda data: struct.pack("<Q", 2**63) + data[8:]),
        "header length 2^64-1": _raw(lambda data: struct.pack("<Q", 2**64 - 1) + data[8:]),
        "header length 0": _raw(lambda data: struct.pack("<Q", 0) + data[8:]),
        "header length beyond the file": _raw(lambda data: struct.pack("<Q", len(data)) + data[8:]),
        "header length one more": _raw(
            lambda data: struct.pack("<Q", int.from_bytes(data[:8], "little") + 1) + data[8:]
        ),
        "header of zeros": _raw(lambda data: data[:8] + bytes(len(data) - 8)),
        "header a list": _raw(lambda data: struct.pack("<Q", 8) + b"[1, 2]  "),
        "header nested 30,000 deep": _raw(lambda data: struct.pack("<Q", 40_000) + b'{"a":' + b"[" * 39_995 + data),
        "header of another model": _raw(lambda data: struct.pack("<Q", len(long)) + long + bytes(8)),
        "cut in half": _half(WEIGHTS),
        "a byte too short": _raw(lambda data: data[:-1]),
        "bytes behind": _raw(lambda data: data + b"more"),
        "offsets that overlap": _entry(data_offsets=[0, 256]),
        "offsets beyond the file": _entry(data_offsets=[2**40, 2**40 + 256]),
        "negative offsets": _entry(data_offsets=[-256, 0]),
        "offsets the wrong way round": _entry(data_offsets=[256, 0]),
        "an unknown dtype": _entry(dtype="X9"),
        "a dtype of another size": _entry(dtype="F64"),
        "a negative shape": _entry(shape=[-128]),
        "a shape of another size": _entry(shape=[64]),
        "a huge shape": _entry(shape=[2**62, 2**62]),
        "a shape that is text": _entry(shape="x"),
        "an entry without offsets": _header(lambda header: header["model.norm.weight"].pop("data_offsets")),
        "a tensor missing": _tensors(lambda held: held.pop("model.norm.weight")),
        "a layer missing": _tensors(lambda held: [held.pop(name) for name in list(held) if ".3." in name]),
        "more layers than the config has": _tensors(_more_layers),
        "a tensor of another name": _tensors(
            lambda held: held.update({"model.other.weight": held["model.norm.weight"].clone()})
        ),
        "another shape": _tensors(
            lambda held: held.update({"model.norm.weight": held["model.norm.weight"][:64].clone()})
        ),
        "whole numbers": _tensors(_integers),
        "missing": _gone(WEIGHTS),
        "a folder": _in_turn(_gone(WEIGHTS), lambda folder: (folder / WEIGHTS).mkdir()),
    }
    quick = "more layers than the config has"
    return [_trial(f"weights: {name}", damage, "m", sample=name == quick) for name, damage in damages.items()]


# --- several files


def _sharded(folder: Path) -> dict[str, str]:
    """The weights in two files; what the index maps."""
    from safetensors.torch import load_file, save_file

    held = load_file(folder / WEIGHTS)
    names = sorted(held)
    files = {name: f"model-{1 + 2 * k // len(names):05}-of-00002.safetensors" for k, name in enumerate(names)}
    for file in set(files.values()):
        save_file({n: held[n] for n in names if files[n] == file}, folder / file, metadata={"format": "pt"})
    (folder / WEIGHTS).unlink()
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": files}))
    return files


def _indexed(change: Callable[[Path, dict[str, Any]], Any]) -> Break:
    def damage(folder: Path) -> None:
        files: dict[str, Any] = dict(_sharded(folder))
        other = change(folder, files)
        (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": files if other is None else other}))

    return damage


def _elsewhere(name: str) -> Callable[[Path, dict[str, Any]], None]:
    def change(folder: Path, files: dict[str, Any]) -> None:
        shutil.copy(folder / files["model.norm.weight"], folder.parent / "elsewhere.safetensors")
        files["model.norm.weight"] = name.format(folder.parent)

    return change


def _twice(folder: Path, files: dict[str, Any]) -> None:
    shutil.copy(folder / files["model.norm.weight"], folder / "model-3.safetensors")
    files["model.norm.weight"] = "model-3.safetensors"


def _as_on_the_hub(folder: Path) -> None:
    """Every file a link into blobs/."""
    (folder.parent / "blobs").mkdir()
    for file in list(folder.iterdir()):
        os.replace(file, folder.parent / "blobs" / file.name)
        file.symlink_to(Path("..") / "blobs" / file.name)


def _folders() -> list[Trial]:
    def pickles(folder: Path) -> None:
        (folder / WEIGHTS).unlink()
        (folder / "pytorch_model.bin").write_bytes(_pickle())

    def pickles_beside(folder: Path) -> None:
        (folder / WEIGHTS).write_bytes(b"")
        (folder / "pytorch_model.bin").write_bytes(_pickle())

    def adapter(folder: Path) -> None:
        (folder / "adapter_config.json").write_text(
            json.dumps({"base_model_name_or_path": str(TINY), "peft_type": "LORA"})
        )

    def adapter_alone(folder: Path) -> None:
        adapter(folder)
        (folder / "config.json").unlink()
        (folder / WEIGHTS).rename(folder / "adapter_model.safetensors")

    def remote(folder: Path) -> None:
        (folder / "modeling_x.py").write_text(
            f"import os\nopen(os.environ['TUNA_CANARY'], 'w')\nclass X: pass\n# {CANARY}\n"
        )
        _config(model_type="x", auto_map={"AutoConfig": "modeling_x.X", "AutoModelForCausalLM": "modeling_x.X"})(folder)

    def stale(folder: Path) -> None:
        kept = (folder / WEIGHTS).read_bytes()
        _sharded(folder)
        (folder / WEIGHTS).write_bytes(kept)

    return [
        _trial("index: a name with ..", _indexed(_elsewhere("../elsewhere.safetensors")), INDEX),
        _trial("index: an absolute name", _indexed(_elsewhere("{}/elsewhere.safetensors")), INDEX),
        _trial("index: a pickle", _indexed(lambda _, files: files.update(a="pytorch_model.bin")), INDEX),
        _trial("index: a number for a name", _indexed(lambda _, files: files.update(a=5)), INDEX),
        _trial(
            "index: a missing file", _indexed(lambda _, files: files.update(a="other.safetensors")), "other.safetensors"
        ),
        _trial("index: weight_map a list", _indexed(lambda *_: ["a"]), INDEX),
        _trial("index: weight_map empty", _indexed(lambda *_: {}), INDEX),
        _trial("index: a tensor in two files", _indexed(_twice), "model-3.safetensors"),
        _trial("index: a whole file beside it", stale, INDEX, WEIGHTS),
        _trial(
            "index: a tensor that no file has",
            _indexed(lambda _, files: files.update({"model.a": files["model.norm.weight"]})),
            INDEX,
        ),
        _trial("index: sound", _sharded, code=0),
        _trial("links into blobs/, sound", _as_on_the_hub, code=0),
        _trial("only a pickle", pickles, "pytorch_model.bin", "a pickle", "safetensors"),
        _trial("a pickle beside empty weights", pickles_beside, "m"),
        _trial("an adapter's config beside the weights", adapter, "adapter"),
        _trial("an adapter alone", adapter_alone, "adapter"),
        _trial("code of its own", remote, "trust_remote_code"),
        _trial("a file in its place", _in_turn(shutil.rmtree, lambda folder: folder.write_text("x")), "model.path"),
    ]


def _pickle() -> bytes:
    """A pickle that makes the file CANARY when it is read."""
    return b"c__builtin__\nopen\n(V" + CANARY.encode() + b"\nVw\ntR."


# --- tokenizers


def _more_tokens(folder: Path) -> None:
    held = json.loads((folder / "tokenizer.json").read_text())
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    held["added_tokens"].append({"id": 2241, "content": "<|new|>", "special": True, **flags})
    (folder / "tokenizer.json").write_text(json.dumps(held))


def _model(**changes: Any) -> Break:
    def damage(folder: Path) -> None:
        held = json.loads((folder / "tokenizer.json").read_text())
        held["model"] |= changes
        (folder / "tokenizer.json").write_text(json.dumps(held))

    return damage


def _template(text: str) -> Break:
    return _write("chat_template.jinja", text.encode())


LOOP = "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}"


def _tokenizers() -> list[Trial]:
    return [
        _trial("tokenizer: more tokens than rows", _more_tokens, "2241", "resize"),
        _trial("tokenizer: no model", _changed("tokenizer.json", {"model": "-"}), "m"),
        _trial("tokenizer: a vocabulary that is a list", _model(vocab=[1]), "m"),
        _trial("tokenizer: an empty vocabulary", _model(vocab={}, merges=[]), "m"),
        _trial("tokenizer: merges of unknown tokens", _model(merges=[["qqq", "zzz"]]), "m"),
        _trial("tokenizer: no end of sequence", _changed("tokenizer_config.json", {"eos_token": "-"}), "eos_token"),
        _trial(
            "tokenizer: an end of sequence that it lacks",
            _changed("tokenizer_config.json", {"eos_token": "<never>"}),
            "m",
        ),
        _trial(
            "generation_config.json: an id beyond the rows",
            _changed("generation_config.json", {"eos_token_id": [1, 9999]}),
            "generation_config.json",
        ),
        _trial(
            "generation_config.json: a negative id",
            _changed("generation_config.json", {"eos_token_id": -7}),
            "generation_config.json",
        ),
        _trial("chat template: loops for ever", _template(LOOP), "chat template", "goes on"),
        _trial(
            "chat template: builds 10 GB",
            _template("{% for a in range(100000) %}{{ 'x' * 100000 }}{% endfor %}"),
            "memory",
        ),
        _trial("chat template: one text of 100 GB", _template("{{ 'x' * 100000000000 }}"), "memory"),
        _trial("chat template: 50 million characters", _template("{{ 'x' * 50000000 }}"), "characters"),
        _trial(
            "chat template: macros that call each other",
            _template("{% macro f(n) %}{{ f(n + 1) }}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}"),
            "chat template",
        ),
        _trial("chat template: broken", _template("{% for"), "chat template"),
        _trial(
            "chat template: Python's insides",
            _template("{{ ().__class__.__base__.__subclasses__() }}"),
            "chat template",
        ),
        _trial("chat template: shows nothing", _template("hello"), "chat template"),
    ]


# --- reward models


def _reward(damage: Callable[[dict[str, Any]], object], **config: Any) -> Break:
    def run(folder: Path) -> None:
        import torch

        def change(held: dict[str, Any]) -> None:
            held["score.weight"] = torch.zeros(1, 128)
            damage(held)

        _tensors(change)(folder)
        named: dict[str, Any] = {
            "architectures": ["LlamaForSequenceClassification"],
            "num_labels": 1,
            "pad_token_id": 0,
        }
        _config(**{**named, **config})(folder)

    return run


def _two_labels(held: dict[str, Any]) -> None:
    held["score.weight"] = held["score.weight"].repeat(2, 1)


def _rewards() -> list[Trial]:
    prm = ("stage=prm",)
    return [
        _trial("reward: sound", _reward(lambda held: None), words=prm, code=0),
        _trial("reward: no head", _reward(lambda held: held.pop("score.weight")), "score.weight", words=prm),
        _trial(
            "reward: a head of another shape",
            _reward(lambda held: held.update({"score.weight": held["score.weight"][:, :64].clone()})),
            "score.weight",
            words=prm,
        ),
        _trial("reward: more layers", _reward(_more_layers), "model.layers.4", words=prm),
        _trial(
            "reward: fewer layers",
            _reward(lambda held: held.pop("model.layers.3.mlp.up_proj.weight")),
            "model.layers.3",
            words=prm,
        ),
        _trial(
            "reward: two labels",
            _reward(_two_labels, num_labels="-", id2label={"0": "a", "1": "b"}, label2id={"a": 0, "b": 1}),
            "label",
            words=prm,
        ),
        _trial("reward: to write answers", _reward(lambda held: None), "reward model"),
        _trial(
            "reward: weights a pointer",
            _in_turn(_reward(lambda held: None), _write(WEIGHTS, POINTER)),
            "git lfs pull",
            words=prm,
        ),
        _trial(
            "reward: 1,000,000 layers",
            _reward(lambda held: None, num_hidden_layers=1_000_000),
            "num_hidden_layers",
            words=prm,
        ),
    ]


TRIALS = [*_small_files(), *_configs(), *_weights(), *_folders(), *_tokenizers(), *_rewards()]
