"""The likelihood of reference answers, against one unpadded row an answer."""

import json
import math
from pathlib import Path

import pytest

from tests.evaluation.make import measure, results_of, write_rows
from tests.evaluation.test_agreement import plain_values
from tuna import assets
from tuna.errors import DataError


def test_against_the_plain_way(tmp_path: Path) -> None:
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
