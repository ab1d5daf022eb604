"""The embedded files: they load, are small, share no question, and the ranked lists keep their format."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, PreTrainedModel

from tuna import assets
from tuna.assets.checker import is_checkable, mark
from tuna.data.encode import Encoder
from tuna.inference.elementary import held_out_records, prompt_of
from tuna.inference.generate import greedy_answers

LISTS = ("contextual", "contextual_held_out", "probabilistic", "probabilistic_held_out")


def _lists(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in assets.path(f"rankings/{name}").read_text(encoding="utf-8").splitlines()]


def train_records() -> list[dict[str, Any]]:
    return [json.loads(line) for line in assets.path("instructions/train").read_text(encoding="utf-8").splitlines()]


def test_unknown_asset_names_those_there_are() -> None:
    with pytest.raises(FileNotFoundError, match=r"tiny_teacher.*rankings/contextual\.jsonl"):
        assets.path("tinny")


@pytest.mark.parametrize("name", assets.MODELS)
def test_models_load_small_with_a_tokenizer(name: str) -> None:
    folder = assets.path(name)
    assert (folder / "model.safetensors").stat().st_size <= 6_000_000
    model: PreTrainedModel = LlamaForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert sum(parameter.numel() for parameter in model.parameters()) <= 3_000_000
    assert model.dtype == torch.bfloat16
    assert model.config.max_position_embeddings >= 512
    assert len(tokenizer) == model.config.vocab_size
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    prompt = prompt_of({"instruction": "Say the first word.", "input": "fox, hen"}, tokenizer)
    assert tokenizer(prompt)["input_ids"] == tokenizer(prompt, add_special_tokens=False)["input_ids"]
    (answer,) = greedy_answers(model, Encoder(tokenizer), [tokenizer(prompt)["input_ids"]], max_tokens=8)
    assert isinstance(answer, str)


@pytest.mark.parametrize(
    "text", ["fox", "The fox", " x", "a\n  b\n\nc", "é, 日本 and 🦊\t", "print('hi')\n    return 0"]
)
def test_any_text_survives_the_tokenizer(text: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(assets.path("tiny"))
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


def test_models_share_a_tokenizer() -> None:
    files = {(assets.path(name) / "tokenizer.json").read_bytes() for name in assets.MODELS}
    assert len(files) == 1


def test_train_and_held_out_share_no_question_and_no_argument() -> None:
    train, held_out = train_records(), held_out_records()
    assert len(train) >= 2000
    assert 300 <= sum(is_checkable(record) for record in held_out) <= 400
    assert sum(not is_checkable(record) for record in held_out) >= 80

    def questions(records: list[dict[str, Any]]) -> set[tuple[str, str]]:
        return {(record["instruction"], record["input"]) for record in records}

    assert not questions(train) & questions(held_out)
    assert len(questions(train)) == len(train)
    assert len(questions(held_out)) == len(held_out)
    # The original answer of a single-argument task tells which things are described, whatever the wording.
    described = [{tuple(r["answers"]) for r in part if r["task"] == "describe"} for part in (train, held_out)]
    assert not described[0] & described[1]


@pytest.mark.parametrize(
    "task", ["plural", "past", "first_letter", "spell", "last_letter", "rhyme", "colour", "opposite", "describe"]
)
def test_no_single_argument_is_in_both_parts(task: str) -> None:
    asked = []
    for records in (train_records(), held_out_records()):
        wordings = [record["instruction"] for record in records if record["task"] == task]
        common = {
            word
            for word, count in Counter(w for text in wordings for w in set(_words(text))).items()
            if count > len(wordings) / 5
        }
        asked.append({word for text in wordings for word in _words(text) if word not in common})
    assert asked[0] and asked[1]
    assert not asked[0] & asked[1]


def _words(text: str) -> list[str]:
    return [word for word in text.lower().strip(".?").split() if word not in ("a", "an", "write", "say")]


def test_every_original_of_a_checkable_question_is_right() -> None:
    for record in [*train_records(), *held_out_records()]:
        points = mark(record, record["output"])
        assert points == 1.0 if is_checkable(record) else points > 0


@pytest.mark.parametrize("name", LISTS)
def test_lists_keep_the_format(name: str) -> None:
    lists = _lists(name)
    assert len(lists) >= (100 if name.endswith("held_out") else 500)
    part = {record["id"] for record in (held_out_records() if name.endswith("held_out") else train_records())}
    for record in lists:
        assert record["id"] in part
        responses = record["responses"]
        texts = [response["text"] for response in responses]
        assert 2 <= len(texts) <= 4
        assert all(texts) and len({text.lower() for text in texts}) == len(texts)
        for response in responses:
            assert math.isfinite(response["logprob"]) and response["logprob"] < 0
            assert response["num_tokens"] > 0
            assert response["finish_reason"] in ("stop", "length")


@pytest.mark.parametrize("name", ["contextual", "contextual_held_out"])
def test_contextual_scores_follow_the_marks(name: str) -> None:
    for record in _lists(name):
        marks = [mark(record, response["text"]) for response in record["responses"]]
        places = sorted(set(marks), reverse=True)
        assert len(places) >= 2
        assert [response["score"] for response in record["responses"]] == [-places.index(points) for points in marks]
        assert [response["judge_score"] for response in record["responses"]] == pytest.approx(marks, abs=1e-4)


def test_log_probabilities_are_the_teachers() -> None:
    from tools.recipe.rankings import log_probability

    folder = assets.path("tiny_teacher")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for record in _lists("probabilistic")[:5]:
        prompt = tokenizer(prompt_of(record, tokenizer), add_special_tokens=False)["input_ids"]
        for response in record["responses"]:
            ids = tokenizer(response["text"], add_special_tokens=False)["input_ids"]
            ids += [tokenizer.eos_token_id] * (response["finish_reason"] == "stop")
            if len(ids) == response["num_tokens"]:
                assert log_probability(model, prompt, ids) == pytest.approx(response["logprob"], abs=1e-3)


def test_json_files_stay_small() -> None:
    folder = assets.path("instructions/train.jsonl").parent.parent
    assert sum(file.stat().st_size for file in folder.glob("*/*.jsonl")) < 3_000_000
