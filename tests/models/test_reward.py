"""What a reward model can start from, said from the config alone; the padding token."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers as hf

from tests.models.conftest import write_tokenizer
from tuna.errors import ConfigError, ModelError
from tuna.models.reward import check_reward_model, check_reward_source, refuse_reward_model, set_pad, writer
from tuna.models.source import ModelConfig, Resolved


def resolved(config: hf.PretrainedConfig, *architectures: str, **changes: Any) -> Resolved:
    config = type(config)(**{**config.to_dict(), "architectures": list(architectures) or None, **changes})
    return Resolved("runs/m", Path("runs/m"), config)


LLAMA, REWARD = "LlamaForCausalLM", "LlamaForSequenceClassification"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            resolved(hf.MambaConfig(), "MambaForCausalLM"),
            r"MambaForCausalLM \(model_type mamba\) has no sequence-class",
        ),
        (resolved(hf.DebertaV2Config(), "DebertaV2ForSequenceClassification", num_labels=1), "has no causal language"),
        (resolved(hf.LlamaConfig(), REWARD, num_labels=2), "with 2 labels; expected 1"),
        (resolved(hf.LlamaConfig(), "LlamaForTokenClassification"), r"expected a causal language model \(LlamaForC"),
    ],
)
def test_refused_by_name(given: Resolved, told: str) -> None:
    with pytest.raises(ModelError, match=rf"runs/m: .*{told}"):
        check_reward_source(given)


def test_taken() -> None:
    for config, name in ((hf.LlamaConfig(), LLAMA), (hf.GPT2Config(), "GPT2LMHeadModel"), (hf.Qwen2Config(), None)):
        check_reward_source(resolved(config, *([name] if name else [])))
    check_reward_model(resolved(hf.LlamaConfig(), REWARD, num_labels=1))
    refuse_reward_model(resolved(hf.LlamaConfig(), LLAMA))


def test_the_two_kinds_are_kept_apart() -> None:
    with pytest.raises(
        ModelError, match=r"LlamaForCausalLM, which has no reward head.*train\.py stage=prm model\.path=runs/m"
    ):
        check_reward_model(resolved(hf.LlamaConfig(), LLAMA))
    with pytest.raises(ModelError, match=r"a reward model \(LlamaForSequenceClassification\), which writes no answers"):
        refuse_reward_model(resolved(hf.LlamaConfig(), REWARD, num_labels=1))


def test_a_special_token_that_is_named_after_padding_is_taken(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    tokenizer: Any = hf.AutoTokenizer.from_pretrained(tmp_path)
    assert not set_pad(tokenizer) and tokenizer.pad_token == "<pad>"
    tokenizer.pad_token = tokenizer.eos_token
    assert set_pad(tokenizer) and tokenizer.pad_token == "<pad>" and len(tokenizer) == 64


def test_a_writer_is_taken_as_it_is(make_llama: Callable[..., Path]) -> None:
    folder = str(make_llama())
    assert writer(ModelConfig(path=folder)).path == folder
    with pytest.raises(ConfigError, match=r"model\.resize: expected false; only train\.py"):
        writer(ModelConfig(path=folder, resize=True))
    with pytest.raises(ModelError, match=r"largest id is 63 .*the embedding has 60 rows"):
        writer(ModelConfig(path=str(make_llama("small", vocab_size=60))))
