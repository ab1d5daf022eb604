"""The elementary benchmark: marks what the model says, whatever the batch."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from tuna import assets
from tuna.assets.elementary import evaluate, greedy_answers, held_out_records, prompt_of
from tuna.errors import ConfigError


@pytest.fixture(scope="module")
def pair() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    folder = assets.path("tiny")
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), AutoTokenizer.from_pretrained(folder)


def test_tiny_reaches_its_figure(pair: tuple[PreTrainedModel, PreTrainedTokenizerBase]) -> None:
    result = evaluate(*pair, held_out_records())
    assert 0.4 <= result.accuracy <= 0.7
    assert result.num_checkable + result.num_open_ended == len(held_out_records()) == len(result.answers)
    assert sum(total for _, total in result.by_task.values()) == result.num_checkable
    assert 0.05 < result.open_ended < 0.95


def test_batching_and_padding_change_nothing(pair: tuple[PreTrainedModel, PreTrainedTokenizerBase]) -> None:
    records = held_out_records()[:12]
    prompts = [prompt_of(record, pair[1]) for record in records]
    pair[0].train()
    together = greedy_answers(*pair, prompts, batch_size=12)
    assert pair[0].training
    pair[0].eval()
    assert together == greedy_answers(*pair, prompts, batch_size=1)
    assert together[::-1] == greedy_answers(*pair, prompts[::-1], batch_size=5)


def test_bfloat16_and_template_none(pair: tuple[PreTrainedModel, PreTrainedTokenizerBase]) -> None:
    records = held_out_records()[:8]
    assert evaluate(pair[0], pair[1], records, template="none").num_checkable <= 8
    with pytest.raises(ConfigError, match="template"):
        evaluate(pair[0], pair[1], records, template="alpacca")


def test_nothing_to_evaluate(pair: tuple[PreTrainedModel, PreTrainedTokenizerBase]) -> None:
    result = evaluate(*pair, [])
    assert (result.accuracy, result.open_ended, result.num_checkable) == (0.0, 0.0, 0)
