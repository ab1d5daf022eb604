"""The training loop: exact loss and gradients, masked prompts, like lengths together."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from tools.recipe import training
from tools.recipe.questions import Question
from tools.recipe.tokenizer import train_tokenizer
from tools.recipe.training import IGNORED, Example, Schedule, answered, batches, new_model, plain, train


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerFast:
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    return train_tokenizer(["Say the first word.\nfox, hen, cup", "The opposite of hot is cold."] * 4, folder)


def test_chunked_head_equals_cross_entropy() -> None:
    torch.manual_seed(0)
    hidden = torch.randn(600, 8, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(11, 8, dtype=torch.float64, requires_grad=True)
    wanted = torch.randint(0, 11, (600,))
    plain_loss = torch.nn.functional.cross_entropy(hidden @ weight.T, wanted)
    expected = torch.autograd.grad(plain_loss, (hidden, weight))
    loss = training._Head.apply(hidden, weight, wanted)  # type: ignore[no-untyped-call]
    found = torch.autograd.grad(loss, (hidden, weight))
    torch.testing.assert_close(loss, plain_loss)
    torch.testing.assert_close(found, expected)


def test_answers_are_learnt_and_prompts_are_not(tokenizer: PreTrainedTokenizerFast) -> None:
    question = Question("opposite", "hot", "Say the opposite of hot.", "", "cold", "one_of", ("cold",))
    (example,) = answered(tokenizer, [question])
    message = [{"role": "user", "content": question.instruction}, {"role": "assistant", "content": "cold"}]
    assert list(example.ids) == tokenizer.apply_chat_template(message, return_dict=False)
    assert tokenizer.decode(list(example.ids[example.prompt :])) == "cold<|end|>"


def test_batches_hold_every_example_within_the_budget() -> None:
    examples = [Example(tuple(range(1, 2 + length)), 1) for length in range(1, 30)]
    stream = batches(examples, 64, 0)
    seen = 0
    while seen < len(examples):
        ids, labels = next(stream)
        assert ids.shape == labels.shape and ids.numel() <= 64
        assert (labels[:, 0] == IGNORED).all()
        seen += len(ids)
    assert seen == len(examples)


def test_training_lowers_the_loss(tokenizer: PreTrainedTokenizerFast) -> None:
    examples = plain(tokenizer, ["fox, hen, cup", "The opposite of hot is cold."])
    model = new_model(tokenizer, seed=0, width=32, layers=1)
    first = train(model, batches(examples, 64, 0), Schedule(steps=1, warmup=1), "test")
    last = train(model, batches(examples, 64, 0), Schedule(steps=40, warmup=1), "test")
    assert last < first - 1
