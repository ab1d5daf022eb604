"""Given answers scored by a model: equal answers of a list are one, whatever the batch makes of their numbers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.models.test_loading import other_reward_model
from tests.training.make import write_model
from tuna.data.batch import PackedBatch
from tuna.data.record import Record
from tuna.inference import score
from tuna.inference.answers import Answer
from tuna.inference.context import Context
from tuna.inference.cost import Budget, Prices
from tuna.inference.store import Store
from tuna.models.source import ModelConfig

LISTS = (
    [Answer("w5 w6"), Answer("w7"), Answer("w5 w6", finish_reason="stop"), Answer("w5 w6", finish_reason="length")],
    [Answer(" "), Answer("w7"), Answer("w7")],
)


class Counting(nn.Module):
    """Gives the k-th response of a batch the number k, so that no two are equal."""

    def forward(self, batch: PackedBatch) -> torch.Tensor:
        return torch.arange(len(batch.lengths)).float()


@pytest.fixture
def context(tmp_path: Path) -> Any:
    with Store(tmp_path / "s") as store:
        yield Context(store, Budget(store.journal("requests")), Prices())


@pytest.fixture(autouse=True)
def counting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("load_scorer", "load_reward_scorer"):
        monkeypatch.setattr(score, name, lambda *_: Counting())


RECORDS = [Record("1", "w9"), Record("2", "w9 w8")]


def test_equal_answers_of_a_list_have_one_log_probability(tmp_path: Path, context: Context) -> None:
    node = ModelConfig(path=str(write_model(tmp_path / "model")), template="none")
    first, second = score.score_answers(node, RECORDS, LISTS, context, row_tokens=64)
    assert [(a.logprob, a.num_tokens) for a in first] == [(0, 3), (1, 2), (0, 3), (2, 2)]  # the cut one has no end
    assert [a.finish_reason for a in first] == [None, None, "stop", "length"]
    assert [a.logprob for a in second] == [None, 3, 3] and second[0].refused == "empty answer"


def test_equal_answers_of_a_list_have_one_reward(tmp_path: Path, context: Context) -> None:
    node = ModelConfig(path=str(other_reward_model(tmp_path / "model")), template="none")
    first, second = score.reward_answers(node, RECORDS, LISTS, context, row_tokens=64)
    assert [a.reward for a in first] == [0, 1, 0, 2] and [a.reward for a in second] == [None, 3, 3]
