"""model.path: every kind of place, and every fault said before weights are read."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tuna.errors import ConfigError, ModelError, NoModelError
from tuna.models.paths import locate
from tuna.models.source import ModelConfig

Make = Callable[..., Path]


def test_a_folder(make_llama: Make) -> None:
    model = ModelConfig(path=str(make_llama()))
    resolved = model.resolve()
    assert (resolved.config.model_type, model.max_positions()) == ("llama", 128)
    assert model.tokenizer()("w5 w6")["input_ids"] == [5, 6]
    assert resolved is model.resolve()


def test_a_run_folder(make_llama: Make, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "one"
    run.mkdir(parents=True)
    (run / "run.json").write_text("{}")
    with pytest.raises(ModelError, match="exported no model yet"):
        ModelConfig(path=str(run)).resolve()
    shutil.copytree(make_llama(), run / "model")
    assert ModelConfig(path=str(run)).resolve().folder == run / "model"


def test_an_embedded_name(make_llama: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from tuna import assets

    monkeypatch.setattr(assets, "path", lambda name: make_llama(name), raising=False)
    assert ModelConfig(path="tiny").resolve().folder == make_llama("tiny")


def test_a_hub_id(make_llama: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_llama()
    asked: list[tuple[str, str | None, bool]] = []

    def snapshot(hub_id: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((hub_id, revision, "*.safetensors" in allow_patterns))
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    model = ModelConfig(path="owner/name", revision="main")
    model.resolve()
    model.tokenizer()
    assert asked == [("owner/name", "main", False)]  # no weights yet
    assert model.fingerprint == ModelConfig(path=str(folder)).fingerprint
    assert asked[1:] == [("owner/name", "main", True)]


def test_a_hub_id_without_a_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def snapshot(*_: Any, **__: Any) -> str:
        raise OSError("offline")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    with pytest.raises(ModelError, match=r"owner/name.*OSError.*spelling"):
        ModelConfig(path="owner/name").resolve()


def test_nothing_there() -> None:
    with pytest.raises(ModelError, match=r"no such folder.*tiny_base"):
        ModelConfig(path="tyni").resolve()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("runs/one", "no such folder in {here}; change to the folder where train.py made it"),
        ("mine/on", "no such folder in {here}; did you mean mine/one?; if you mean the hub's mine/on, which"),
        ("./mine/on", "no such folder; did you mean mine/one?, and neither"),
        ("other/name", None),
    ],
)
def test_a_path_is_looked_for_on_the_hub_only_where_it_can_be_nothing_else(
    path: str, message: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine" / "one").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    if message is None:
        assert locate(path) is None
    else:
        with pytest.raises(NoModelError) as caught:
            locate(path)
        assert message.format(here=tmp_path) in str(caught.value)


def spoil(folder: Path, fault: str) -> None:
    weights, config = folder / "model.safetensors", folder / "config.json"
    if fault == "no config":
        config.unlink()
    elif fault == "unknown type":
        config.write_text(json.dumps({"model_type": "frobnicator"}))
    elif fault == "no tokenizer":
        (folder / "tokenizer.json").unlink()
        (folder / "tokenizer_config.json").unlink()
    elif fault == "no weights":
        weights.unlink()
    elif fault == "pickle":
        weights.rename(folder / "pytorch_model.bin")
    elif fault == "lost shard":
        weights.rename(folder / "model-00001-of-00002.safetensors")
        index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    else:
        weights.unlink()
        (folder / "adapter_config.json").write_text("{}")


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("no config", r"no config\.json"),
        ("unknown type", r"'frobnicator'.*update transformers"),
        ("no tokenizer", r"no tokenizer.*AutoTokenizer"),
        ("no weights", r"no weights \(model\.safetensors"),
        ("pickle", r"pytorch_model\.bin, a pickle.*convert it once"),
        ("lost shard", r"model-00002-of-00002\.safetensors, which is missing"),
        ("adapter", r"LoRA adapter.*model/ folder"),
    ],
)
def test_faults_name_the_folder_and_what_to_do(make_llama: Make, fault: str, message: str) -> None:
    folder = make_llama()
    spoil(folder, fault)
    with pytest.raises(ModelError, match=message) as caught:
        ModelConfig(path=str(folder)).resolve()
    assert str(folder) in str(caught.value)


def test_fingerprint_is_of_content_not_of_place(make_llama: Make, tmp_path: Path) -> None:
    folder = make_llama("one")
    twin = tmp_path / "twin"
    shutil.copytree(folder, twin)
    config = json.loads((twin / "config.json").read_text())
    (twin / "config.json").write_text(json.dumps({**config, "_name_or_path": "elsewhere", "transformers_version": "0"}))
    assert ModelConfig(path=str(folder)).fingerprint == ModelConfig(path=str(twin)).fingerprint
    assert ModelConfig(path=str(folder)).fingerprint != ModelConfig(path=str(make_llama("two", seed=1))).fingerprint
    (twin / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 0.5}))
    assert ModelConfig(path=str(folder)).fingerprint != ModelConfig(path=str(twin)).fingerprint


def test_all_faults_of_the_config_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        ModelConfig(path="", template="x", scorer="y", projection_chunk=0)  # type: ignore[arg-type]
    keys = [line.split(":")[0] for line in str(caught.value).splitlines()]
    assert keys == ["path", "template", "scorer", "projection_chunk"]
    with pytest.raises(ConfigError) as caught:
        ModelConfig(lora={"rank": 4, "dropout": 2})
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == ["lora.rank", "lora.dropout"]
    assert "did you mean r?" in str(caught.value)


def test_half_precision_folder_is_known_by_its_file(make_llama: Make) -> None:
    from tuna.models.folder import stored_dtype

    assert stored_dtype(make_llama(dtype=torch.bfloat16)) == "bfloat16"
