"""The likelihood of reference answers and ranking agreement: by hand, and against one unpadded row per answer."""

import json
import math
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.evaluation.make import measure, results_of, write_rows
from tuna import assets
from tuna.errors import DataError
from tuna.evaluation.likelihood import _figures, ndcg

LISTS = [json.loads(line) for line in assets.path("rankings/contextual_held_out.jsonl").read_text().splitlines()][:12]


def test_ndcg_by_hand() -> None:
    # Gains 2, 1, 0; the order given is the worst: 0 + 1 / log2(3) + 2 / 2 of 2 + 1 / log2(3).
    assert ndcg([1, 2, 3], [3, 2, 1]) == pytest.approx((1 / math.log2(3) + 1) / (2 + 1 / math.log2(3)))
    # Equal values share their places' gains: both orders of the two are as likely.
    both = (ndcg([2, 1], [1, 0]) + ndcg([1, 2], [1, 0])) / 2
    assert ndcg([5, 5], [1, 0]) == pytest.approx(both)
    assert math.isnan(ndcg([1, 2], [4, 4]))


@pytest.mark.filterwarnings("error")
def test_a_list_of_one_has_no_figure_and_brings_no_warning() -> None:
    found = _figures([[2.0], [1.0, 0.0]], [[-1.0], [-1.0, -2.0]])
    assert {name: values[1] for name, values in found.items()} == {"pair_accuracy": 1, "kendall_tau": 1, "ndcg": 1}
    assert all(math.isnan(values[0]) for values in found.values())


def test_nothing_to_order_is_an_error(tmp_path: Path) -> None:
    tied = [{"instruction": "Hi.", "responses": [{"text": "a", "score": 1}, {"text": "b", "score": 1}]}]
    with pytest.raises(DataError, match="no list has two answers with different scores"):
        measure(tmp_path, "benchmark=agreement", f"benchmark.path={write_rows(tmp_path / 'a.jsonl', tied)}")
    short = [{"instruction": "Hi.", "responses": [{"text": "a", "score": 1}]}]
    with pytest.raises(DataError, match=r"next: mend them$"):
        measure(tmp_path, "benchmark=agreement", f"benchmark.path={write_rows(tmp_path / 'b.jsonl', short)}")


def plain_values(rows: list[dict[str, Any]]) -> list[list[float]]:
    """v of every response, one unpadded row each."""
    folder = assets.path("tiny")
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        AutoTokenizer.from_pretrained(folder),
    )
    found = []
    for row in rows:
        question = "\n".join(filter(None, (row["instruction"], row["input"])))
        turn = [{"role": "user", "content": question}]
        prompt = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
        start = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        values = []
        for response in row["responses"]:
            end = tokenizer(response["text"], add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
            with torch.no_grad():
                logprobs = model(torch.tensor([start + end])).logits[0].log_softmax(-1)
            values.append(sum(float(logprobs[len(start) - 1 + t, token]) for t, token in enumerate(end)) / len(end))
        found.append(values)
    return found


def test_agreement_against_the_plain_way(tmp_path: Path) -> None:
    path = tmp_path / "lists.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in LISTS))
    scores = measure(tmp_path / "r", "benchmark=agreement", f"benchmark.path={path}", "generation.batch_size=5")
    results, examples, _ = results_of(tmp_path / "r", "agreement")
    values = plain_values(LISTS)
    for example, expected in zip(examples, values, strict=True):
        assert example["v"] == pytest.approx(expected, abs=1e-4)
    accuracy, taus = [], []
    for row, v in zip(LISTS, values, strict=True):
        score = [response["score"] for response in row["responses"]]
        signs = [(v[i] - v[j]) * (score[i] - score[j]) for i, j in combinations(range(len(v)), 2)]
        pairs = [s for s, (i, j) in zip(signs, combinations(range(len(v)), 2), strict=True) if score[i] != score[j]]
        accuracy.append(sum(s > 0 for s in pairs) / len(pairs))
        taus.append(sum((s > 0) - (s < 0) for s in pairs) / math.sqrt(len(pairs) * len(signs)))
    assert scores["pair_accuracy"] == pytest.approx(sum(accuracy) / len(accuracy))
    assert scores["kendall_tau"] == pytest.approx(sum(taus) / len(taus))
    assert set(results["baselines"]["pair_accuracy"]) == {"length-only", "chance"}
    assert results["coverage"] == {"n": 12, "N": 12, "missing": []}


def test_nll_against_the_plain_way(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in assets.path("instructions/held_out.jsonl").read_text().splitlines()][:10]
    path = write_rows(tmp_path / "in.jsonl", rows)
    scores = measure(tmp_path / "r", "benchmark=nll", f"benchmark.path={path}", "generation.batch_size=3")
    lists = [{**row, "responses": [{"text": row["output"]}]} for row in rows]
    each = [-values[0] for values in plain_values(lists)]
    results, examples, _ = results_of(tmp_path / "r", "nll")
    lengths = [example["num_tokens"] for example in examples]
    assert [example["scores"]["nll"] for example in examples] == pytest.approx(each, abs=1e-4)
    assert scores["nll"] == pytest.approx(sum(each) / 10, abs=1e-4)
    over_tokens = sum(e * n for e, n in zip(each, lengths, strict=True)) / sum(lengths)
    assert scores["nll_tokens"] == pytest.approx(over_tokens, abs=1e-4)
    assert scores["perplexity"] == pytest.approx(math.exp(over_tokens), rel=1e-4)
    assert "nll" in results["lower_is_better"] and results["intervals"]["nll"][0] < scores["nll"]


def test_nothing_to_score_is_an_error_and_no_figure(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "in.jsonl", [{"instruction": "Say hi.", "output": ""}])
    with pytest.raises(DataError, match=r"in\.jsonl: expected a response to score, got none \(empty response: 1"):
        measure(tmp_path / "r", "benchmark=nll", f"benchmark.path={path}")
    assert not (tmp_path / "r").exists()
