"""A tokenizer with ids that the embedding has no row for: refused, or the rows are added by model.resize=true."""

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.models.architectures import CONFIGS, build
from tests.models.packing import packed
from tuna.errors import ModelError
from tuna.models.export import export
from tuna.models.folder import tensor_shapes
from tuna.models.loading import grow, load_reward_scorer, load_scorer
from tuna.models.reward import set_pad
from tuna.models.source import ModelConfig

Make = Callable[..., Path]


def add_token(folder: Path, token: str = "<|turn|>") -> Path:
    """One special token more than the 64 that the embedding has rows for."""
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": [token]})
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("load", ["loading.load_scorer", "reward_loading.load_reward_scorer"])
def test_a_larger_tokenizer_is_refused(make_llama: Make, load: str) -> None:
    folder = add_token(make_llama())
    told = (
        rf"{folder}: the tokenizer's largest id is 64 \('<\|turn\|>'\), but the embedding has 64 rows; "
        r".*by model\.resize=true$"
    )
    with pytest.raises(ModelError, match=told):
        ModelConfig(path=str(folder)).tokenizer()
    with pytest.raises(ModelError, match=told):
        (load_scorer if load == "loading.load_scorer" else load_reward_scorer)(ModelConfig(path=str(folder)))


def test_rows_without_tokens_are_normal(make_llama: Make) -> None:
    for resize in (False, True):
        scorer = load_scorer(ModelConfig(path=str(make_llama(vocab_size=80)), resize=resize))
        assert scorer.model.get_input_embeddings().weight.shape[0] == 80


@pytest.mark.parametrize("kind", CONFIGS)
def test_new_rows_are_the_mean_of_the_others(kind: str) -> None:
    """Embedding, head and the head's bias (Phi), tied or not, in float32 and as transformers nearly does."""
    model, theirs = build(copy.deepcopy(CONFIGS[kind])), build(copy.deepcopy(CONFIGS[kind]))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    grow(model, 66)
    torch.manual_seed(3)
    theirs.resize_token_embeddings(66)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor[: len(before[name])], before[name]), name
        torch.testing.assert_close(tensor, theirs.state_dict()[name], rtol=0, atol=5e-3, msg=name)
    assert model.config.get_text_config().vocab_size == 66
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert tied is bool(CONFIGS[kind].tie_word_embeddings)
    torch.testing.assert_close(model.get_input_embeddings().weight[65], before[embedding(model)].mean(0))


def embedding(model: Any) -> str:
    found: str = next(name for name, p in model.named_parameters() if p is model.get_input_embeddings().weight)
    return found


@pytest.mark.parametrize("tied", [True, False])
def test_a_resized_model_trains_on_its_new_token_and_exports_it(make_llama: Make, tmp_path: Path, tied: bool) -> None:
    folder = add_token(make_llama(tie_word_embeddings=tied))
    model = ModelConfig(path=str(folder), resize=True)
    assert model.tokenizer().get_vocab()["<|turn|>"] == 64 and model.rows == 65
    scorer, again = load_scorer(model).eval(), load_scorer(model).eval()
    batch = packed([([5, 64, 6], [[64, 7], [8]])], [[0]])
    assert torch.equal(scorer(batch), again(batch))  # nothing is drawn
    optimizer = torch.optim.SGD(scorer.parameters(), lr=0.05)
    before = scorer.model.get_input_embeddings().weight[64].clone()
    scorer(batch).sum().backward()
    optimizer.step()
    assert (scorer.model.get_input_embeddings().weight[64] - before).abs().max() > 1e-4
    export(scorer, tmp_path / "end", resolved=model.resolve())
    shapes = tensor_shapes(tmp_path / "end")
    assert shapes["model.embed_tokens.weight"] == (65, 32) and ("lm_head.weight" in shapes) is not tied
    config = json.loads((tmp_path / "end" / "config.json").read_text())
    assert config["vocab_size"] == 65 and config["tie_word_embeddings"] is tied
    assert (tmp_path / "end" / "tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()
    exported = load_scorer(ModelConfig(path=str(tmp_path / "end"))).eval()
    torch.testing.assert_close(exported(batch), scorer(batch), rtol=1e-5, atol=0)


@pytest.mark.parametrize("targets", [["q_proj"], ["embed_tokens", "lm_head"]])
@pytest.mark.parametrize("tied", [True, False])
def test_the_adapter_of_a_resized_model_brings_its_rows(
    make_llama: Make, tmp_path: Path, tied: bool, targets: list[str]
) -> None:
    """As peft saves one: the starting model is resized first, then gets the rows that the adapter was trained on."""
    from peft import PeftModel

    folder = add_token(make_llama(tie_word_embeddings=tied))
    model = ModelConfig(path=str(folder), resize=True, lora={"r": 2, "target_modules": targets})
    scorer = load_scorer(model).eval()
    with torch.no_grad():
        for name, parameter in scorer.named_parameters():
            if "lora_" in name:
                parameter.normal_(0, 0.2)
    export(scorer, tmp_path / "run" / "model", resolved=model.resolve())
    ids = torch.tensor([[5, 64, 7]])
    wanted = scorer.model(ids).logits
    exported: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "model")
    torch.testing.assert_close(exported(ids).logits, wanted, rtol=1e-4, atol=1e-4)
    base: Any = AutoModelForCausalLM.from_pretrained(folder)
    base.resize_token_embeddings(65, mean_resizing=False)  # random rows
    adapted: Any = PeftModel.from_pretrained(base, str(tmp_path / "run" / "adapter"))
    torch.testing.assert_close(adapted.eval()(ids).logits, wanted, rtol=1e-4, atol=1e-4)


def test_a_reward_model_grows_for_the_tokenizer_and_then_for_its_padding(tmp_path: Path, make_llama: Make) -> None:
    folder = make_llama(pad_token_id=None)
    shutil.copytree(folder, tmp_path / "twin")
    for each in (folder, tmp_path / "twin"):
        full = json.loads((each / "tokenizer.json").read_text())
        full["added_tokens"] = [token for token in full["added_tokens"] if token["content"] != "<pad>"]
        (each / "tokenizer.json").write_text(json.dumps(full))
        settings = json.loads((each / "tokenizer_config.json").read_text())
        (each / "tokenizer_config.json").write_text(json.dumps(settings | {"pad_token": "</s>"}))
    add_token(folder)
    with pytest.raises(ModelError, match="largest id is 64"):
        load_reward_scorer(ModelConfig(path=str(folder)))
    for path, rows in ((folder, 66), (tmp_path / "twin", 65)):
        model = ModelConfig(path=str(path), resize=True)
        scorer = load_reward_scorer(model)
        tokenizer = model.tokenizer()
        assert set_pad(tokenizer) and tokenizer.pad_token_id == scorer.model.config.pad_token_id == rows - 1
        weight = scorer.model.get_input_embeddings().weight
        assert weight.shape[0] == scorer.model.config.vocab_size == rows
        torch.testing.assert_close(weight[64], weight[:64].mean(0))
        export(scorer, tmp_path / "out" / path.name, resolved=model.resolve(), tokenizer=tokenizer)
        again = load_reward_scorer(ModelConfig(path=str(tmp_path / "out" / path.name)))
        assert again.model.get_input_embeddings().weight.shape[0] == rows
        batch = packed([([5, 6], [[7], [8, 9]])], [[0]])
        torch.testing.assert_close(again.eval()(batch), scorer.eval()(batch), rtol=1e-5, atol=1e-6)
