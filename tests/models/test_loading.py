"""What is loaded: scorers; reward models from a causal LM, from an export, from others' folders, as HF scores."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    LlamaConfig,
    LlamaForSequenceClassification,
)

from tests.models.architectures import UNFIT, build
from tests.models.conftest import write_tokenizer
from tests.models.packing import packed, random_lists
from tuna.data.batch import PackedBatch
from tuna.errors import ModelError
from tuna.models.export import export
from tuna.models.loading import HEAD_STD, dtype_named, load_reward_scorer, load_scorer
from tuna.models.reward import PAD, set_pad
from tuna.models.scorer import PlainScorer, ResponseScorer
from tuna.models.source import ModelConfig

Make = Callable[..., Path]


def batch() -> PackedBatch:
    return packed(random_lists(2, 64), [[0, 1], [2, 3, 4]])


def other_reward_model(folder: Path, labels: int = 1, **changes: Any) -> Path:
    """What somebody else saved: a sequence-classification folder."""
    torch.manual_seed(1)
    settings: dict[str, Any] = {
        "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 128, "initializer_range": 0.2, "pad_token_id": 0,
        "eos_token_id": 2, "num_labels": labels,
    }  # fmt: skip
    LlamaForSequenceClassification(LlamaConfig(**settings | changes)).save_pretrained(folder)
    write_tokenizer(folder)
    return folder


def edit(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def by_the_class(folder: Path, lists: list[tuple[list[int], list[list[int]]]]) -> torch.Tensor:
    """Plain AutoModelForSequenceClassification on rows that its own tokenizer pads on the right."""
    auto: Any = AutoModelForSequenceClassification
    model = auto.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, padding_side="right")
    rows = [prompt + response for prompt, responses in lists for response in responses]
    padded = tokenizer.pad({"input_ids": rows}, return_tensors="pt")
    with torch.no_grad():
        found: torch.Tensor = model(**padded).logits[:, 0]
    return found


def some_lists() -> list[tuple[list[int], list[list[int]]]]:
    """Ids 4 to 63: no special token of write_tokenizer inside."""
    lists = random_lists(4, 60)
    return [([t + 4 for t in p], [[t + 4 for t in r] for r in responses]) for p, responses in lists]


def score(path: Path, **options: Any) -> torch.Tensor:
    rewards: torch.Tensor = load_reward_scorer(ModelConfig(path=str(path), **options)).eval()(
        packed(some_lists(), [[0, 1], [2, 3, 4]])
    )
    return rewards.detach()


def test_from_a_causal_model_comes_the_backbone_and_a_seeded_head(make_llama: Make) -> None:
    folder = make_llama()
    causal: Any = AutoModelForCausalLM.from_pretrained(folder)
    one, same = (load_reward_scorer(ModelConfig(path=str(folder)), seed=3).model for _ in range(2))
    other = load_reward_scorer(ModelConfig(path=str(folder)), seed=4).model
    for name, weight in causal.model.state_dict().items():
        assert torch.equal(one.model.state_dict()[name], weight)
    assert one.score.weight.shape == (1, 32) and torch.equal(one.score.weight, same.score.weight)
    assert not torch.equal(one.score.weight, other.score.weight)
    assert one.score.weight.std().item() == pytest.approx(HEAD_STD, rel=0.4)
    assert one.training and all(p.dtype == torch.float32 and p.requires_grad for p in one.parameters())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_export_scores_in_transformers_as_here(make_llama: Make, tmp_path: Path, dtype: str) -> None:
    model = ModelConfig(path=str(make_llama(dtype=getattr(torch, dtype))))
    scorer = load_reward_scorer(model)
    with torch.no_grad():
        scorer.model.score.weight.mul_(30)
    export(scorer, tmp_path / "out", resolved=model.resolve())
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["architectures"] == ["LlamaForSequenceClassification"] and config["dtype"] == dtype
    assert config["pad_token_id"] == 0 != config["eos_token_id"] and len(config["id2label"]) == 1
    assert not (tmp_path / "out" / "generation_config.json").exists()
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == (Path(model.path) / "tokenizer.json").read_bytes()
    rewards = score(tmp_path / "out")
    assert rewards.std() > 0.05
    torch.testing.assert_close(rewards, by_the_class(tmp_path / "out", some_lists()), rtol=0, atol=1e-5)
    torch.testing.assert_close(rewards, score(tmp_path / "out", scorer="plain"), rtol=0, atol=1e-5)


@pytest.mark.parametrize("pad", ["</s>", None])
def test_a_model_without_a_padding_token_gets_one(make_llama: Make, tmp_path: Path, pad: str | None) -> None:
    """pad == eos is what most chat models have; the embedding grows where the vocabulary is full."""
    folder = make_llama(pad_token_id=2 if pad else None)
    edit(folder / "tokenizer_config.json", pad_token=pad)
    full = json.loads((folder / "tokenizer.json").read_text())
    full["added_tokens"] = [token for token in full["added_tokens"] if token["content"] != "<pad>"]
    (folder / "tokenizer.json").write_text(json.dumps(full))
    model = ModelConfig(path=str(folder))
    scorer = load_reward_scorer(model)
    tokenizer = model.tokenizer()
    assert set_pad(tokenizer) and tokenizer.pad_token == PAD
    assert scorer.model.config.pad_token_id == tokenizer.pad_token_id == 64
    weight = scorer.model.get_input_embeddings().weight
    assert weight.shape[0] == scorer.model.config.vocab_size == 65
    torch.testing.assert_close(weight[64], weight[:64].mean(0))
    export(scorer, tmp_path / "out", resolved=model.resolve(), tokenizer=tokenizer)
    torch.testing.assert_close(score(tmp_path / "out"), by_the_class(tmp_path / "out", some_lists()), rtol=0, atol=1e-5)
    again: Any = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert again.pad_token_id == 64 and not set_pad(again)


def test_others_reward_models_score_as_they_do_in_transformers(tmp_path: Path) -> None:
    folder = other_reward_model(tmp_path / "other")
    torch.testing.assert_close(score(folder), by_the_class(folder, some_lists()), rtol=0, atol=1e-5)
    with pytest.raises(ModelError, match=r"other: LlamaForSequenceClassification with 3 labels; expected 1"):
        load_reward_scorer(ModelConfig(path=str(other_reward_model(tmp_path / "three" / "other", labels=3))))


def without(folder: Path, name: str) -> Path:
    """The model folder, with one tensor less."""
    tensors = load_file(folder / "model.safetensors")
    del tensors[name]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_weights_that_are_missing_are_never_made_up(tmp_path: Path, make_llama: Make) -> None:
    folder = without(other_reward_model(tmp_path / "other"), "score.weight")
    with pytest.raises(ModelError, match=r"the weights lack score\.weight"):
        load_reward_scorer(ModelConfig(path=str(folder)))
    causal = without(make_llama(), "model.norm.weight")
    with pytest.raises(ModelError, match=r"the weights lack model\.norm\.weight"):
        load_reward_scorer(ModelConfig(path=str(causal)))


@pytest.mark.parametrize("targets", ["all-linear", ["embed_tokens", "q_proj"]])
@pytest.mark.parametrize("tied", [True, False])  # what the language model's head was; a reward model has none
def test_lora_trains_adapters_and_head_and_merges(
    make_llama: Make, tmp_path: Path, tied: bool, targets: str | list[str]
) -> None:
    from peft import PeftModel

    start = make_llama(tie_word_embeddings=tied)
    model = ModelConfig(path=str(start), lora={"r": 2, "target_modules": targets})
    scorer = load_reward_scorer(model, seed=5)
    trained = [name for name, p in scorer.named_parameters() if p.requires_grad]
    assert "model.score.weight" in trained and all("lora_" in n or n == "model.score.weight" for n in trained)
    with torch.no_grad():
        for name, parameter in scorer.named_parameters():
            if name in trained:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    wanted = scorer.eval()(packed(some_lists(), [[0, 1], [2, 3, 4]])).detach()
    export(scorer, tmp_path / "run" / "model", resolved=model.resolve())
    torch.testing.assert_close(score(tmp_path / "run" / "model"), wanted, rtol=1e-4, atol=1e-5)
    auto: Any = AutoModelForSequenceClassification
    base = auto.from_pretrained(start, num_labels=1)
    base.config.pad_token_id = 0
    peft: Any = PeftModel.from_pretrained(base, str(tmp_path / "run" / "adapter"))
    ids = torch.tensor([[4, 9, 20, 33]])
    rewards = [each.eval()(input_ids=ids).logits for each in (scorer.model, peft, peft.merge_and_unload())]
    for reward in rewards[1:]:
        torch.testing.assert_close(reward, rewards[0], rtol=1e-4, atol=1e-5)


def test_lora_on_the_reward_head_is_refused(make_llama: Make) -> None:
    with pytest.raises(ModelError, match=r"score is the reward head, which is trained in full anyway; leave it out"):
        load_reward_scorer(ModelConfig(path=str(make_llama()), lora={"target_modules": ["q_proj", "score"]}))


def test_encoders_are_refused_by_name(tmp_path: Path) -> None:
    """BERT has both classes, but reads its first token, and sees what comes after a token."""
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48)
    config.num_labels = 1
    BertForSequenceClassification(config).save_pretrained(tmp_path)
    write_tokenizer(tmp_path)
    for scorer in ("packed", "plain"):
        with pytest.raises(ModelError, match="BertForSequenceClassification: not causal"):
            load_reward_scorer(ModelConfig(path=str(tmp_path), scorer=scorer))


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
    folder = without(make_llama(), "model.norm.weight")
    with pytest.raises(ModelError, match=r"lack model\.norm\.weight"):
        load_scorer(ModelConfig(path=str(folder)))


def test_the_type_of_a_model_that_answers(make_llama: Make) -> None:
    folder = make_llama(dtype=torch.bfloat16)
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    found = [dtype_named(*given, folder) for given in (("auto", cpu), ("auto", cuda), ("float16", cpu))]
    assert found == [torch.float32, torch.bfloat16, torch.float16]
