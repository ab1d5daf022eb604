"""Ranked lists from a model with random weights: format, retries, log-probabilities."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from tools.recipe import rankings
from tools.recipe.rankings import Answer, contextual, log_probability, probabilistic
from tools.recipe.tokenizer import train_tokenizer
from tools.recipe.training import new_model

RECORD = {"id": "a", "instruction": "Say the opposite of hot.", "input": "", "output": "cold", "check": "one_of"}
RECORD_COLD = {**RECORD, "answers": ["cold"]}

Pair = tuple[LlamaForCausalLM, PreTrainedTokenizerFast]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    tokenizer = train_tokenizer(["The opposite of hot is cold."] * 4, Path(tmp_path_factory.mktemp("tokenizer")))
    return new_model(tokenizer, seed=0, width=32, layers=1).eval(), tokenizer


def test_log_probability_equals_a_hand_made_sum(pair: Pair) -> None:
    model, _ = pair
    prompt, answer = [5, 6, 7], [8, 9]
    with torch.no_grad():
        steps = model(torch.tensor([[5, 6, 7, 8, 9]])).logits[0].log_softmax(-1)
    assert log_probability(model, prompt, answer) == pytest.approx(float(steps[2, 8] + steps[3, 9]), abs=1e-5)


def test_probabilistic_lists_carry_what_eq3_needs(pair: Pair) -> None:
    torch.manual_seed(0)
    (ranked,) = probabilistic(*pair, [RECORD_COLD], "random")
    assert ranked["id"] == "a"
    for response in ranked["responses"]:
        assert response["logprob"] < 0 and response["num_tokens"] >= 1 and response["source"] == "random"


def test_equal_marks_share_a_place(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["hot", "cold", "cold", "warm", ""])

    def sampled(
        _model: object, _tokenizer: object, prompts: list[str], temperature: float, _limit: int
    ) -> list[Answer]:
        heats.append(round(temperature, 1))
        return [Answer(next(answers, ""), (5, 1), "stop") for _ in prompts]

    heats: list[float] = []
    monkeypatch.setattr(rankings, "sample", sampled)
    (ranked,) = contextual(*pair, [RECORD_COLD], "random")
    found = [(response["text"], response["score"], response["judge_score"]) for response in ranked["responses"]]
    assert found == [("cold", 0.0, 1.0), ("hot", -1.0, 0.0), ("warm", -1.0, 0.0)]
    assert heats == [1.0, 1.0, 1.0, 1.1, 1.0, 1.1, 1.2, 1.3]


def test_lists_of_equal_marks_are_left_out(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = iter(["hot", "warm", "tepid", "mild"])
    monkeypatch.setattr(rankings, "sample", lambda *args: [Answer(next(texts), (5, 1), "stop")])
    assert contextual(*pair, [RECORD_COLD], "random") == []
