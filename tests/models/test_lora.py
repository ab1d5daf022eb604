"""model.lora: what is trainable, that the merge is the model that was trained, and what the key takes."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.models.architectures import CONFIGS, build
from tests.models.conftest import write_tokenizer
from tests.models.packing import packed, random_lists
from tuna.errors import ConfigError, ModelError
from tuna.models.export import export
from tuna.models.folder import tensor_shapes
from tuna.models.loading import load_scorer
from tuna.models.lora import Lora, parse_lora
from tuna.models.source import Model

Make = Callable[..., Path]


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (None, None), (False, None), (True, Lora()), (16, Lora(r=16)),
        ({"r": 4, "alpha": 12, "target_modules": ["q_proj"]}, Lora(4, 12, 0.0, ("q_proj",))),
    ],
)  # fmt: skip
def test_spellings(value: object, wanted: Lora | None) -> None:
    assert parse_lora(value) == wanted


@pytest.mark.parametrize("value", ["big", {"r": 0}, {"alpha": -1}, {"dropout": 1.0}, {"layers": 3}, 0])
def test_refused(value: object) -> None:
    with pytest.raises(ConfigError, match=r"model\.lora"):
        parse_lora(value)


def test_modules_that_are_not_there(make_llama: Make) -> None:
    with pytest.raises(ModelError, match=r"model\.lora\.target_modules"):
        load_scorer(Model(path=str(make_llama()), lora={"target_modules": ["nowhere"]}))


@pytest.mark.parametrize("name", ["llama_tied", "gpt2"])
def test_only_adapters_train_and_the_merged_export_scores_the_same(name: str, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    start = tmp_path / "start"
    build(copy.deepcopy(CONFIGS[name])).save_pretrained(start)
    write_tokenizer(start)
    model = Model(path=str(start), lora={"r": 3, "alpha": 7})
    scorer = load_scorer(model).eval()
    trainable = [n for n, p in scorer.named_parameters() if p.requires_grad]
    assert trainable and all("lora_" in n for n in trainable)
    with torch.no_grad():
        for parameter in scorer.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    batch = packed(random_lists(0, 64, groups=2), [[0, 1]])
    export(scorer, tmp_path / "run" / "model", resolved=model.resolve())
    merged = load_scorer(Model(path=str(tmp_path / "run" / "model"))).eval()
    torch.testing.assert_close(merged(batch), scorer(batch), rtol=1e-4, atol=0)
    assert tensor_shapes(tmp_path / "run" / "model") == tensor_shapes(start)
    adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(start), str(tmp_path / "run" / "adapter"))
    ids = batch.input_ids[:, :9]
    torch.testing.assert_close(adapted.eval()(ids).logits, merged.model(ids).logits, rtol=1e-4, atol=1e-4)
