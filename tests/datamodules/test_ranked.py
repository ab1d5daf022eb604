"""tuna.datamodules.ranked: candidates alone, lists with a pair alone, and the ids that reward models read."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from tests.models.conftest import write_tokenizer
from tuna.datamodules.ranked import PRMDataModule
from tuna.errors import DataError


def lists(path: Path) -> Path:
    def row(number: int, scores: list[float], **extra: Any) -> dict[str, Any]:
        responses = [{"text": f"w{20 + k} w{30 + number}", "score": score} for k, score in enumerate(scores)]
        return {"id": f"q{number}", "instruction": f"w{10 + number}", "responses": responses, **extra}

    rows = [row(0, [1, 0, 0], output="w50"), row(1, [2, 2]), row(2, [0.5, 0.4]), row(3, [3, 1, 2], output="w20 w33")]
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return path


def prepared(tmp_path: Path, **options: Any) -> PRMDataModule:
    write_tokenizer(tmp_path)
    tokenizer: Any = AutoTokenizer.from_pretrained(tmp_path)
    settings: dict[str, Any] = {
        "path": str(lists(tmp_path / "l.jsonl")), "held_out": 0, "batch_size": 2, "template": "none",
        "cache_dir": str(tmp_path / "cache"),
    }  # fmt: skip
    data = PRMDataModule(**settings | options)
    data.prepare(tokenizer, max_positions=None)
    return data


def test_candidates_with_different_scores_and_nothing_else(tmp_path: Path) -> None:
    data = prepared(tmp_path)
    assert [group.id for group in data.train_groups] == ["q0", "q2", "q3"]
    assert [len(group.responses) for group in data.train_groups] == [3, 2, 3]  # no original, needed or not
    assert not any(any(group.targets) for group in data.train_groups)
    assert data.report.dropped == {"list whose answers are all tied": 1}
    assert data.train_groups[0].responses[0].tolist() == [20, 30, 2]


def test_the_original_as_one_more_candidate(tmp_path: Path) -> None:
    data = prepared(tmp_path, rank_original="best")
    assert [len(group.responses) for group in data.train_groups] == [4, 2, 3]
    assert data.train_groups[0].scores[-1] == 2.0


def test_close_scores_are_ties(tmp_path: Path) -> None:
    assert [g.id for g in prepared(tmp_path, min_gap=0.2).train_groups] == ["q0", "q3"]
    with pytest.raises(DataError, match="no list is left to train on"):
        prepared(tmp_path, min_gap=9.0)
