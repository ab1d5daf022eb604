"""Probabilistic ranking with a teacher that says what it is told: scores by hand, what is left out, what is missing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tuna.data.record import Candidate, Record
from tuna.errors import ConfigError
from tuna.inference.answers import Answer
from tuna.inference.context import Context
from tuna.inference.cost import Budget, Prices
from tuna.inference.store import Store
from tuna.ranking.collection import Components
from tuna.ranking.rankers.probabilistic import Probabilistic


class Told:
    name = "teacher"

    def __init__(self, answers: list[list[Answer]]) -> None:
        self.answers = answers

    def identity(self, seed: int) -> dict[str, Any]:
        return {"teacher": "local"}

    def lacks(self, record: Record, n: int, context: Context) -> str:
        return context.aside.get(f"key {record.id}", "")

    def answer(self, records: Sequence[Record], n: int, context: Context) -> list[list[Answer]]:
        return self.answers

    def score(
        self, records: Sequence[Record], answers: Sequence[Sequence[Answer]], context: Context
    ) -> list[list[Answer]]:
        return self.answers


@pytest.fixture
def context(tmp_path: Path) -> Any:
    with Store(tmp_path / "s") as store:
        yield Context(store, Budget(store.journal("requests")), Prices())


def test_scores_by_hand_and_the_order(context: Context) -> None:
    # -8 / 4^1.5 = -1, -1 / 1^1.5 = -1 (a tie keeps the order), -54 / 9^1.5 = -2
    told = Told([[Answer("worst", -54.0, 9), Answer("long", -8.0, 4), Answer("short", -1.0, 1)]])
    found = Probabilistic(n=3, beta=1.5).collect([Record("1", "Q", output="r")], Components(teacher=told), context)
    assert [(r["text"], r["score"]) for r in found.rows[0]["responses"]] == [("long", -1), ("short", -1), ("worst", -2)]
    assert found.rows[0]["output"] == "r" and found.rows[0]["responses"][0]["source"] == "teacher"


def test_an_answer_that_was_drawn_twice_has_one_score(context: Context) -> None:
    """A batch of another shape gives the same text another last digit."""
    same, whole, cut = Answer("same", -2.000001, 1), Answer("same", -2.0, 1), Answer("same", -3.0, 1, "length")
    told = Told([[same, cut, Answer("best", -1.0, 1), whole]])
    found = Probabilistic(n=4, beta=1.0).collect([Record("1", "Q")], Components(teacher=told), context)
    assert [(r["logprob"], r["score"]) for r in found.rows[0]["responses"]] == [
        (-1.0, -1), (-2.000001, -2), (-2.0, -2), (-3.0, -3),
    ]  # fmt: skip


def test_what_is_left_out_set_aside_and_missing(context: Context) -> None:
    good, empty, blank = Answer("a", -1.0, 2), Answer(" ", -1.0, 1), Answer("b")
    told = Told([[good, good, empty, blank], [good, empty, empty, empty], [], []])
    context.aside["key 3"] = "no answer after 7 tries"
    records = [Record(str(k), "Q") for k in range(1, 5)]
    found = Probabilistic().collect(records, Components(teacher=told), context)
    assert [row["id"] for row in found.rows] == ["1"]
    assert [left["reason"] for left in found.rows[0]["dropped"]] == ["empty answer", "no log-probability"]
    assert [(row["id"], row["reason"]) for row in found.unusable] == [
        ("2", "fewer than two usable answers"), ("3", "no answer after 7 tries"),
    ]  # fmt: skip
    assert found.missing == 1


def test_given_answers_keep_their_sources(context: Context) -> None:
    given = (Candidate("x", source="alpaca"), Candidate("y"))
    told = Told([[Answer("x", -2.0, 2), Answer("y", -1.0, 2)]])
    parts = Components(teacher=told, score_only=True)
    row = Probabilistic().collect([Record("1", "Q", responses=given)], parts, context).rows[0]
    assert [(r["text"], r["source"]) for r in row["responses"]] == [("y", "teacher"), ("x", "alpaca")]
    source, ranking = Probabilistic().identities(parts)
    assert ranking == {"beta": 1.3} and "seed" not in source


def test_n_below_two() -> None:
    with pytest.raises(ConfigError, match="n: expected 2 or more, got 1"):
        Probabilistic(n=1)
