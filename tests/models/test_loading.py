"""What load_scorer builds."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.models.architectures import UNFIT, build
from tests.models.conftest import write_tokenizer
from tests.models.packing import packed, random_lists
from tuna.errors import ModelError
from tuna.models.loading import load_scorer
from tuna.models.plain import PlainScorer
from tuna.models.scorer import ResponseScorer
from tuna.models.source import ModelConfig

Make = Callable[..., Path]


def test_weights_are_float32_whatever_the_file_holds(make_llama: Make) -> None:
    scorer = load_scorer(ModelConfig(path=str(make_llama(dtype=torch.bfloat16))))
    assert isinstance(scorer, ResponseScorer) and scorer.training
    assert {parameter.dtype for parameter in scorer.parameters()} == {torch.float32}


def test_both_ways_from_one_folder_agree(make_llama: Make) -> None:
    path = str(make_llama())
    batch = packed(random_lists(0, 64, groups=3), [[0, 1], [2]])
    plain = load_scorer(ModelConfig(path=path, scorer="plain", attention="eager"))
    assert isinstance(plain, PlainScorer)
    packed_way = load_scorer(ModelConfig(path=path, gradient_checkpointing=True, projection_chunk=5))
    torch.testing.assert_close(packed_way(batch), plain(batch), rtol=1e-5, atol=0)


def test_an_unfit_model_is_refused_before_its_weights_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "bloom"
    build(UNFIT["bloom"]).save_pretrained(folder)
    write_tokenizer(folder)
    load_scorer(ModelConfig(path=str(folder), scorer="plain"))
    monkeypatch.setattr("tuna.models.loading.load_model", lambda *_, **__: pytest.fail("read the weights"))
    with pytest.raises(ModelError, match=r"Bloom.*model\.scorer=plain"):
        load_scorer(ModelConfig(path=str(folder)))


def test_a_missing_weight_is_an_error(make_llama: Make) -> None:
    folder = make_llama()
    state = load_file(folder / "model.safetensors")
    del state["model.norm.weight"]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lack model\.norm\.weight"):
        load_scorer(ModelConfig(path=str(folder)))
