"""Shards read by slices are what from_pretrained reads, whatever the architecture, and whoever shares."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import transformers as hf
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor
from torch.testing._internal.distributed.fake_pg import FakeStore

from tests.models.architectures import CONFIGS, EXPERTS, build
from tests.models.conftest import write_tokenizer
from tuna.errors import ModelError
from tuna.models.loading import Sharding, load_reward_scorer, load_scorer
from tuna.models.source import ModelConfig

pytestmark = pytest.mark.once  # nothing here hangs on how kernels round

Make = Callable[..., Path]


@contextmanager
def process(rank: int, *sizes: int) -> Iterator[DeviceMesh]:
    """This process as one of several that are not there: what they would send is made up."""
    count = int(torch.tensor(sizes).prod())
    dist.init_process_group("fake", rank=rank, world_size=count, store=FakeStore())
    try:
        names = [f"{dimension} of {rank}" for dimension in range(len(sizes))]  # torch caches by names, not by process
        yield init_device_mesh("cpu", sizes, mesh_dim_names=tuple(names))
    finally:
        dist.destroy_process_group()


def together(load: Callable[[Sharding], Any], *sizes: int) -> dict[str, Tensor]:
    """All parameters and buffers, put together from what each process of the last dimension has loaded."""
    parts: list[dict[str, Tensor]] = []
    for rank in range(sizes[-1]):
        with process(rank, *sizes) as mesh:
            model = load(Sharding(mesh)).model
            named = {**dict(model.named_parameters(remove_duplicate=False)), **dict(model.named_buffers())}
            assert all(isinstance(p, DTensor) and not p.to_local().is_meta for p in model.parameters())
            locals_ = {name: t.to_local() if isinstance(t, DTensor) else t for name, t in named.items()}
            parts.append({name: tensor.detach().clone() for name, tensor in locals_.items()})
    buffers = {name for name, _ in model.named_buffers()}
    return {n: parts[0][n] if n in buffers else torch.cat([part[n] for part in parts]) for n in parts[0]}


def whole(model: Any) -> dict[str, Tensor]:
    return {**dict(model.named_parameters(remove_duplicate=False)), **dict(model.named_buffers())}


def equal(got: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert got.keys() == wanted.keys()
    for name, tensor in wanted.items():
        torch.testing.assert_close(got[name], tensor.detach(), rtol=0, atol=0, msg=name, equal_nan=True)


def start_of(name: str, folder: Path) -> ModelConfig:
    build(copy.deepcopy((CONFIGS | EXPERTS)[name])).save_pretrained(folder)
    write_tokenizer(folder)
    return ModelConfig(str(folder), scorer="plain")


@pytest.mark.parametrize("name", ["llama_tied", "gemma3", "gpt2", "opt", "gpt_neox", "llama4_chunked", *EXPERTS])
def test_all_parameters_and_buffers(name: str, tmp_path: Path) -> None:
    model = start_of(name, tmp_path)
    auto: Any = hf.AutoModelForCausalLM
    equal(together(lambda s: load_scorer(model, sharding=s), 2), whole(auto.from_pretrained(tmp_path)))


@pytest.mark.parametrize("sizes", [(3,), (2, 2)])
def test_uneven_rows_and_copies(make_llama: Make, sizes: tuple[int, ...]) -> None:
    model = ModelConfig(str(make_llama(dtype=torch.bfloat16, tie_word_embeddings=True)), scorer="plain")
    equal(together(lambda s: load_scorer(model, sharding=s), *sizes), whole(load_scorer(model).model))


def test_several_files_and_names_without_the_prefix(tmp_path: Path) -> None:
    """As GPT-2 lies on the hub: of the base model, whose names lack ``transformer.``; buffers that nobody needs."""
    build(copy.deepcopy(CONFIGS["gpt2"])).save_pretrained(tmp_path)
    write_tokenizer(tmp_path)
    held = load_file(tmp_path / "model.safetensors")
    bare = {name.removeprefix("transformer."): tensor for name, tensor in held.items()}
    save_file(bare | {"h.0.attn.bias": torch.ones(1, 1, 64, 64)}, tmp_path / "model.safetensors", {"format": "pt"})
    model = ModelConfig(str(tmp_path), scorer="plain")
    equal(together(lambda s: load_scorer(model, sharding=s), 2), whole(load_scorer(model).model))
    loaded: Any = hf.AutoModelForCausalLM.from_pretrained(tmp_path)
    split = tmp_path / "split"
    loaded.save_pretrained(split, max_shard_size="20KB")
    write_tokenizer(split)
    assert len(list(split.glob("*.safetensors"))) > 2
    model = ModelConfig(str(split), scorer="plain")
    equal(together(lambda s: load_scorer(model, sharding=s), 2), whole(loaded))


@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "lm_head", "embed_tokens"]])
def test_adapters_begin_as_on_one_process(make_llama: Make, targets: Any) -> None:
    model = ModelConfig(str(make_llama()), scorer="plain", lora={"r": 4, "target_modules": targets})

    def load(sharding: Sharding | None = None) -> Any:
        torch.manual_seed(3)
        return load_scorer(model, sharding=sharding)

    got, one = together(load, 2), load().model
    equal(got, whole(one))
    assert max(float(t.abs().max()) for name, t in got.items() if ".lora_A" in name) > 0
    with process(0, 2) as mesh:
        sharded = load(Sharding(mesh)).model
        assert {n for n, p in sharded.named_parameters() if p.requires_grad} == {
            n for n, p in one.named_parameters() if p.requires_grad
        }


@pytest.mark.parametrize("lora", [None, 2])
def test_a_fresh_reward_head_and_its_padding(make_llama: Make, lora: int | None) -> None:
    model = ModelConfig(str(make_llama(vocab_size=80)), scorer="plain", lora=lora)

    def load(sharding: Sharding | None = None) -> Any:
        torch.manual_seed(3)
        return load_reward_scorer(model, seed=5, sharding=sharding)

    equal(together(load, 2), whole(load().model))


def test_rows_for_tokens_that_the_model_lacks(make_llama: Make) -> None:
    model = ModelConfig(str(make_llama(vocab_size=50)), scorer="plain", resize=True, lora=2)

    def load(sharding: Sharding | None = None) -> Any:
        torch.manual_seed(3)
        return load_scorer(model, sharding=sharding)

    got = together(load, 3)
    assert got["model.embed_tokens.weight"].shape[0] == 64
    equal(got, whole(load().model))


def test_tied_weights_that_the_files_hold_twice_are_read_as_before(make_llama: Make) -> None:
    folder = make_llama(tie_word_embeddings=True)
    held = load_file(folder / "model.safetensors")
    other = torch.randn_like(held["model.embed_tokens.weight"])
    save_file(held | {"lm_head.weight": other}, folder / "model.safetensors", {"format": "pt"})
    model = ModelConfig(str(folder), scorer="plain")
    got = together(lambda s: load_scorer(model, sharding=s), 2)
    equal(got, whole(load_scorer(model).model))
    assert torch.equal(got["lm_head.weight"], other)


def test_weights_that_are_no_numbers(make_llama: Make) -> None:
    folder = make_llama()
    held = load_file(folder / "model.safetensors")
    held["model.norm.weight"][3] = torch.nan
    save_file(held, folder / "model.safetensors", {"format": "pt"})
    with process(0, 2) as mesh, pytest.raises(ModelError, match=r"the weights hold NaN or infinity \(model\.norm\.we"):
        load_scorer(ModelConfig(str(folder), scorer="plain"), sharding=Sharding(mesh))
