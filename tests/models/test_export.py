"""An exported folder is the starting folder with other numbers in it."""

import copy
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.models.architectures import CONFIGS, EXPERTS, build
from tests.models.conftest import write_tokenizer
from tuna.errors import ModelError
from tuna.models.export import export
from tuna.models.folder import stored_dtype, tensor_shapes
from tuna.models.loading import load_scorer
from tuna.models.source import ModelConfig
from tuna.models.writing import _write_group, header

pytestmark = pytest.mark.once  # nothing here hangs on how kernels round

Make = Callable[..., Path]


@pytest.mark.parametrize("name", CONFIGS)
def test_names_and_shapes_are_those_of_the_start(name: str, tmp_path: Path) -> None:
    start, end = tmp_path / "start", tmp_path / "end"
    build(copy.deepcopy(CONFIGS[name])).save_pretrained(start)
    write_tokenizer(start)
    model = ModelConfig(path=str(start))
    scorer = load_scorer(model)
    with torch.no_grad():
        for parameter in scorer.parameters():
            parameter.mul_(1.5)
    export(scorer, end, resolved=model.resolve())
    assert tensor_shapes(end) == tensor_shapes(start)
    again = AutoModelForCausalLM.from_pretrained(end)
    for one, (key, other) in zip(scorer.model.parameters(), again.named_parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, msg=key)
    left, right = (json.loads((folder / "config.json").read_text()) for folder in (start, end))
    assert left == right
    assert sorted(tmp_path.iterdir()) == [end, start]  # nothing half-written stays


@pytest.mark.parametrize(
    ("name", "most", "count"),
    [("llama_tied", "20KB", 4), ("gpt2", "20KB", 6), ("mixtral", "1GB", 1), ("qwen3_moe", "1GB", 1)],
)
def test_files_and_index_are_those_of_save_pretrained(
    name: str, most: str, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, end, wanted = (tmp_path / each for each in ("start", "end", "wanted"))
    build(copy.deepcopy((CONFIGS | EXPERTS)[name])).save_pretrained(start)
    write_tokenizer(start)
    model = ModelConfig(path=str(start), scorer="plain")
    auto: Any = AutoModelForCausalLM
    auto.from_pretrained(start, dtype=torch.bfloat16).save_pretrained(wanted, max_shard_size=most)
    monkeypatch.setattr("tuna.models.writing.MOST", most)
    export(load_scorer(model), end, resolved=model.resolve(), dtype="bfloat16")
    files = sorted(path.name for path in wanted.glob("model*"))
    assert len(files) == count and files == sorted(path.name for path in end.glob("model*"))
    for file in files:
        assert (end / file).read_bytes() == (wanted / file).read_bytes(), file


def test_a_header_is_that_of_safetensors() -> None:
    kinds = [torch.float32, torch.int64, torch.bool, torch.bfloat16, torch.uint8, torch.float16, torch.float64]
    tensors = {f"{name}.{kind}": torch.zeros(3, 2, dtype=kind) for kind in kinds for name in ("b", "ä", "a")}
    tensors |= {"one": torch.tensor(1.0), "none": torch.zeros(0, 4)}
    start, places = header(tensors)
    whole = save(tensors, {"format": "pt"})
    assert whole.startswith(start) and len(whole) == max(places.values()) + 6  # the last is of six bytes


@pytest.mark.parametrize("after", [0, 7, 20])
def test_a_kill_in_the_middle_leaves_nothing_that_looks_whole(
    make_llama: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    model = ModelConfig(path=str(make_llama()), scorer="plain")
    scorer, end = load_scorer(model), tmp_path / "end"
    written = list[int]()

    def kill(*arguments: Any) -> None:
        if len(written) == after:
            os.kill(os.getpid(), signal.SIGKILL)
        written.append(len(written))
        _write_group(*arguments)

    child = os.fork()
    if child == 0:
        monkeypatch.setattr("tuna.models.writing._write_group", kill)
        export(scorer, end, resolved=model.resolve())
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert not end.exists()
    with pytest.raises(ModelError):
        load_scorer(ModelConfig(path=str(tmp_path / "end.tmp")))
    export(scorer, end, resolved=model.resolve())
    assert ModelConfig(path=str(end)).fingerprint == model.fingerprint
    assert not (tmp_path / "end.tmp").exists()


@pytest.mark.parametrize(("asked", "wanted"), [("auto", "bfloat16"), ("float32", "float32"), ("float16", "float16")])
def test_dtype(make_llama: Make, tmp_path: Path, asked: str, wanted: str) -> None:
    model = ModelConfig(path=str(make_llama(dtype=torch.bfloat16, tie_word_embeddings=True)))
    export(load_scorer(model), tmp_path / "end", resolved=model.resolve(), dtype=asked)
    assert stored_dtype(tmp_path / "end") == wanted
    assert json.loads((tmp_path / "end" / "config.json").read_text())["dtype"] == wanted
    assert "lm_head.weight" not in tensor_shapes(tmp_path / "end")


def test_a_type_that_cannot_hold_the_weights(make_llama: Make, tmp_path: Path) -> None:
    model = ModelConfig(str(make_llama()))
    scorer = load_scorer(model)
    scorer.model.get_input_embeddings().weight.data[5, 3] = 1e5
    with pytest.raises(
        ModelError, match=r"embed_tokens\.weight holds NaN or infinity in float16.*export_dtype=float32"
    ):
        export(scorer, tmp_path / "out", resolved=model.resolve(), dtype="float16")
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.tmp").exists()


def test_tokenizer_and_generation_config_are_the_starting_ones(make_llama: Make, tmp_path: Path) -> None:
    start, end = make_llama(), tmp_path / "end"
    # such a file exists in the wild, and transformers refuses to save it
    (start / "generation_config.json").write_text('{"temperature": 0.6, "do_sample": false, "eos_token_id": [2, 3]}')
    model = ModelConfig(path=str(start))
    model.tokenizer().pad_token = "</s>"
    export(load_scorer(model), end, resolved=model.resolve())
    assert AutoTokenizer.from_pretrained(end).pad_token == "<pad>"
    for name in ("generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        assert (end / name).read_bytes() == (start / name).read_bytes()


def ends_of(folder: Path) -> object:
    return json.loads((folder / "generation_config.json").read_text())["eos_token_id"]


@pytest.mark.parametrize(
    ("listed", "ends", "wanted"),
    [
        ([2, 3], (7, 3, 7), [2, 3, 7]),
        (2, (7,), [2, 7]),
        (None, (7,), [5, 7]),  # the file lists none, so the config's comes first
    ],
)
def test_ends_of_answers_are_listed_after_the_starting_ones(
    make_llama: Make, tmp_path: Path, listed: object, ends: tuple[int, ...], wanted: list[int]
) -> None:
    start, end = make_llama(eos_token_id=5), tmp_path / "end"
    values = {"temperature": 0.6, "do_sample": False, "top_p": 0.9} | ({"eos_token_id": listed} if listed else {})
    (start / "generation_config.json").write_text(json.dumps(values))
    model = ModelConfig(path=str(start))
    export(load_scorer(model), end, resolved=model.resolve(), ends=ends)
    assert json.loads((end / "generation_config.json").read_text()) == values | {"eos_token_id": wanted}
    again: Any = AutoModelForCausalLM.from_pretrained(end)
    assert again.generation_config.eos_token_id == wanted


def test_ends_that_are_listed_change_nothing(make_llama: Make, tmp_path: Path) -> None:
    start, end = make_llama(), tmp_path / "end"
    (start / "generation_config.json").write_text('{"eos_token_id":   [3, 2]}')
    model = ModelConfig(path=str(start))
    export(load_scorer(model), end, resolved=model.resolve(), ends=(2, 3))
    assert (end / "generation_config.json").read_bytes() == b'{"eos_token_id":   [3, 2]}'


def test_ends_without_a_generation_config_come_after_the_config_s(make_llama: Make, tmp_path: Path) -> None:
    start = make_llama(bos_token_id=1, eos_token_id=2)
    (start / "generation_config.json").unlink()
    model = ModelConfig(path=str(start))
    scorer = load_scorer(model)
    for name, ends in (("none", ()), ("known", (2,)), ("new", (7, 2))):
        export(scorer, tmp_path / name, resolved=model.resolve(), ends=ends)
    assert not (tmp_path / "none" / "generation_config.json").exists()
    assert not (tmp_path / "known" / "generation_config.json").exists()
    assert ends_of(tmp_path / "new") == [2, 7]
    again: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "new")
    assert (again.generation_config.bos_token_id, again.generation_config.pad_token_id) == (1, 0)


def test_generation_stops_at_a_further_end(make_llama: Make, tmp_path: Path) -> None:
    model = ModelConfig(path=str(make_llama(eos_token_id=2)))
    scorer = load_scorer(model).eval()
    ids = torch.tensor([[5, 6, 7]])
    free: Any = scorer.model.generate(ids, do_sample=False, max_new_tokens=6)
    further = int(free[0, 4])  # what it says second
    export(scorer, tmp_path / "end", resolved=model.resolve(), ends=(further,))
    again: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "end")
    said = again.generate(ids, do_sample=False, max_new_tokens=6)[0, 3:].tolist()
    assert said == free[0, 3 : 3 + len(said)].tolist() and said[-1] == further and len(said) <= 2


def test_a_second_export_replaces_the_first(make_llama: Make, tmp_path: Path) -> None:
    model = ModelConfig(path=str(make_llama()))
    scorer = load_scorer(model)
    for number in range(2):
        export(scorer, tmp_path / "end", resolved=model.resolve())
        assert not (tmp_path / "end" / "README.md").exists()
        (tmp_path / "end" / "README.md").write_text(f"{number}")
    assert ModelConfig(path=str(tmp_path / "end")).fingerprint == model.fingerprint
