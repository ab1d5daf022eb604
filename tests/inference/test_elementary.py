"""The elementary tasks as a run measures them: what the model says is marked, whatever the batch."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from tuna import assets
from tuna.data.encode import Encoder
from tuna.errors import ConfigError
from tuna.inference.elementary import held_out_records, record_of
from tuna.inference.generate import greedy_answers, measure_elementary


@pytest.fixture(scope="module")
def pair() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    folder = assets.path("tiny")
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), AutoTokenizer.from_pretrained(folder)


def test_tiny_reaches_its_figure(pair: tuple[PreTrainedModel, PreTrainedTokenizerBase]) -> None:
    result = measure_elementary(*pair, held_out_records())
    assert 0.4 <= result.accuracy <= 0.7
    assert result.num_checkable + result.num_open_ended == len(held_out_records()) == len(result.answers)
    assert sum(total for _, total in result.by_task.values()) == result.num_checkable
    assert 0.05 < result.open_ended < 0.95


def test_batching_and_padding_change_nothing(pair: tuple[PreTrainedModel, PreTrainedTokenizerBase]) -> None:
    records = held_out_records()[:12]
    encoder = Encoder(pair[1], "chat")
    prompts = [encoder.prompt(record_of(record)).tolist() for record in records]
    pair[0].train()
    together = greedy_answers(pair[0], encoder, prompts, batch_size=12)
    assert pair[0].training
    pair[0].eval()
    assert together == greedy_answers(pair[0], encoder, prompts, batch_size=1)
    assert together[::-1] == greedy_answers(pair[0], encoder, prompts[::-1], batch_size=5)


def test_bfloat16_and_template_none(pair: tuple[PreTrainedModel, PreTrainedTokenizerBase]) -> None:
    records = held_out_records()[:8]
    assert measure_elementary(pair[0], pair[1], records, template="none").num_checkable <= 8
    with pytest.raises(ConfigError, match="template"):
        measure_elementary(pair[0], pair[1], records, template="alpacca")


def test_nothing_to_measure_elementary(pair: tuple[PreTrainedModel, PreTrainedTokenizerBase]) -> None:
    result = measure_elementary(*pair, [])
    assert (result.accuracy, result.open_ended, result.num_checkable) == (0.0, 0.0, 0)
