"""Preference pretraining: what it starts from, what it reads, what it learns."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn
from transformers import AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerBase

from tools.recipe import preferences
from tools.recipe.preferences import (
    Marked,
    deepened,
    marked,
    own_answers,
    train_preferences,
    written_answers,
    written_stories,
)
from tools.recipe.rankings import Answer
from tools.recipe.tokenizer import USER
from tools.recipe.training import Schedule, batches, plain
from tools.recipe.world import load_world
from tuna import assets
from tuna.inference.elementary import prompt_of


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerBase:
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(assets.path("tiny"))
    return tokenizer


@pytest.fixture
def tiny() -> LlamaForCausalLM:
    return LlamaForCausalLM.from_pretrained(assets.path("tiny"), dtype=torch.float32)


def test_new_layers_change_no_answer_and_take_gradients(tiny: LlamaForCausalLM) -> None:
    ids = torch.arange(3, 23)[None]
    before = tiny(input_ids=ids).logits
    deeper = deepened(tiny, 6, seed=0)
    assert deeper.config.num_hidden_layers == len(deeper.model.layers) == 6
    after = deeper(input_ids=ids).logits
    torch.testing.assert_close(after, before)
    after.logsumexp(-1).sum().backward()
    gradient = deeper.model.layers[5].self_attn.o_proj.weight.grad
    assert gradient is not None and gradient.abs().max() > 0
    first, last = (deeper.model.layers[index].mlp.up_proj.weight for index in (4, 5))
    assert not torch.equal(first, last)


def test_lists_hold_the_original_and_end_with_the_end_token(
    tiny: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = [["warm", "red"], ["cold", "warm"], ["warm", "red"]]
    answers = [[Answer(text, (), "stop") for text in texts] for texts in said]
    monkeypatch.setattr(preferences, "distinct_answers", lambda model, tokenizer, prompts: answers)
    record = {"instruction": "Say the opposite of hot.", "input": "", "output": "cold", "check": "one_of"}
    records = [record | {"answers": [right]} for right in ("cold", "cold", "hot")]
    first, second = own_answers(tiny, tokenizer, records)
    assert (first.marks, second.marks) == ((0.0, 0.0, 1.0), (1.0, 0.0))
    prompt = prompt_of(record, tokenizer)
    for each, texts in ((first, ["warm", "red", "cold"]), (second, ["cold", "warm"])):
        expected = tokenizer([f"{prompt}{text}{tokenizer.eos_token}" for text in texts], add_special_tokens=False)
        assert [list(ids) for ids in each.ids] == expected["input_ids"]


def test_written_lists_are_conversations_or_plain_text(tokenizer: PreTrainedTokenizerBase) -> None:
    user = tokenizer.get_vocab()[USER]
    answers, told = (make(load_world(), tokenizer, 3, 40) for make in (written_answers, written_stories))
    assert len(answers) > 30 and len(told) > 30
    assert all(ids[0] == user for each in answers for ids in each.ids)
    assert not any(user in ids for each in told for ids in each.ids)
    assert all(len(set(each.marks)) > 1 for each in (*answers, *told))
    assert marked(tokenizer, [("", ("a fox", "a hen"), (1.0, 1.0))]) == []


def test_the_loss_is_the_mean_over_lists_of_the_mean_over_pairs(tiny: LlamaForCausalLM) -> None:
    head = nn.Linear(tiny.config.hidden_size, 1, bias=False)
    lists = [
        Marked(((5, 6, 7, 2), (5, 6, 2), (5, 8, 9, 10, 2)), (0.0, 1.0, 0.5)),
        Marked(((7, 2), (8, 9, 2)), (1.0, 0.0)),
    ]
    means = []
    for each in lists:
        rewards = [head(tiny.model(input_ids=torch.tensor([ids])).last_hidden_state[0, -1]).item() for ids in each.ids]
        pairs = [
            math.log1p(math.exp(rewards[j] - rewards[i]))
            for i, j in itertools.permutations(range(len(rewards)), 2)
            if each.marks[i] > each.marks[j]
        ]
        means.append(sum(pairs) / len(pairs))
    assert float(preferences._pairwise(tiny, head, lists)) == pytest.approx(sum(means) / 2, rel=1e-4)


def test_it_learns_an_order_and_keeps_its_text(
    tiny: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, caplog: pytest.LogCaptureFixture
) -> None:
    lists = [Marked(((5, 6, 7, 2), (5, 6, 2)), (0.0, 1.0)), Marked(((5, 9, 2), (5, 6, 9, 2)), (1.0, 0.0))]
    text = batches(plain(tokenizer, ["The plural of fox is foxes."] * 4), 64, 0)
    with caplog.at_level("INFO"):
        train_preferences(
            tiny, [lists, lists], text, Schedule(steps=100, adam_lr=1e-3, warmup=5), count=2, text_weight=0.5, seed=0
        )
    assert float(caplog.messages[-1].split()[4]) < 0.4  # "preferences step 100 loss ..."
    ids = tokenizer("The plural of fox is foxes.", return_tensors="pt", add_special_tokens=False)["input_ids"]
    assert float(tiny(input_ids=ids, labels=ids).loss) < 1.0
