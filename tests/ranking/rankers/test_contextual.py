"""Contextual ranking with a sampler and a judge that say what they are told."""

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
from tuna.judges.base import Case, NoRuling, Ruling
from tuna.ranking.collection import Components
from tuna.ranking.rankers.contextual import Contextual


class Samples:
    def __init__(self, *answers: Sequence[str], reason: str = "") -> None:
        self.answers = [[Answer(text) for text in texts] for texts in answers]
        self.reason = reason

    name = "alpaca"

    def lacks(self, record: Record, n: int, context: Context) -> str:
        return self.reason

    def answer(self, records: Sequence[Record], n: int, context: Context) -> list[list[Answer]]:
        return self.answers

    def identity(self, seed: int) -> dict[str, Any]:
        return {"seed": seed}


class Rules:
    def __init__(self, *rulings: Ruling | NoRuling) -> None:
        self.rulings = list(rulings)
        self.asked: list[Case] = []

    def identity(self) -> dict[str, Any]:
        return {"judge": "told", "model": "gpt", "orders": 1}

    def judge(self, cases: Sequence[Case], context: Context) -> list[Ruling | NoRuling]:
        self.asked = list(cases)
        return self.rulings


@pytest.fixture
def context(tmp_path: Path) -> Any:
    with Store(tmp_path / "s") as store:
        yield Context(store, Budget(store.journal("requests")), Prices())


def test_a_ruling_becomes_a_list(context: Context) -> None:
    ruling = Ruling([2, 0, None, 1], [5.0, 9.0, None, 9.0], own=("Mine.", 1), notes={"orders": [[0]]}, flips=1, pairs=6)
    parts = Components(sampler=Samples(["a", "b", "c", "d"]), judge=Rules(ruling))
    found = Contextual().collect([Record("1", "Q", output="r")], parts, context)
    row = found.rows[0]
    assert [(r["text"], r["score"], r["source"], r.get("judge_score"), r.get("sample")) for r in row["responses"]] == [
        ("b", 0.0, "alpaca", 9.0, 1), ("d", -1.0, "alpaca", 9.0, 3), ("Mine.", -1.0, "gpt", None, None),
        ("a", -2.0, "alpaca", 5.0, 0),
    ]  # fmt: skip
    assert row["judge"] == {"judge": "told", "model": "gpt", "orders": [[0]]}
    assert row["dropped"] == [{"text": "c", "reason": "left out by the judge"}]
    assert (found.flips, found.pairs) == (1, 6)


def test_what_is_set_aside_and_what_was_not_asked(context: Context) -> None:
    parts = Components(
        sampler=Samples(["a", " "], ["a", "b"], ["a", "b"]),
        judge=Rules(NoRuling("no rank: [...] found", ["Hm."]), NoRuling("not asked yet", asked=False)),
    )
    found = Contextual(n=2).collect([Record(str(k), "Q") for k in range(3)], parts, context)
    assert not found.rows and found.missing == 1 and len(parts.judge.asked) == 2
    assert [(row["reason"], row["raw"]) for row in found.unusable] == [
        ("fewer than two usable answers", [{"text": " ", "reason": "empty answer"}]),
        ("no rank: [...] found", ["Hm."]),
    ]  # fmt: skip


@pytest.mark.parametrize(("reason", "unusable", "missing"), [("context length", 1, 0), ("", 0, 1)])
def test_a_set_that_is_not_whole_goes_to_no_judge(context: Context, reason: str, unusable: int, missing: int) -> None:
    parts = Components(sampler=Samples([], reason=reason), judge=Rules())
    found = Contextual().collect([Record("1", "Q")], parts, context)
    assert (len(found.unusable), found.missing, parts.judge.asked) == (unusable, missing, [])


def test_given_answers_need_no_sampler(context: Context) -> None:
    given = (Candidate("x", source="mine"), Candidate("y"))
    parts = Components(judge=Rules(Ruling([1, 0], [None, None])), score_only=True)
    row = Contextual().collect([Record("1", "Q", responses=given)], parts, context).rows[0]
    assert [(r["text"], r["source"]) for r in row["responses"]] == [("y", "given"), ("x", "mine")]
    assert Contextual().needs(True) == ("judge",) and not Contextual().embedded(parts)


@pytest.mark.parametrize("n", [1, 26])
def test_n_has_letters_for_its_prompt(n: int) -> None:
    with pytest.raises(ConfigError, match=f"n: expected 2 to 25, got {n}"):
        Contextual(n=n)


def test_the_original_is_ranked_beside_the_answers_unless_one_equals_it(context: Context) -> None:
    rulings = [Ruling([1, 2, 0], [0.0, 0.0, 1.0]), Ruling([0, 1], [1.0, 0.0])]
    parts = Components(sampler=Samples(["a", "b"], ["a", "r"], [], ["a", "b"]), judge=Rules(*rulings, NoRuling("no")))
    records = [Record(str(k), "Q", output=text) for k, text in enumerate(("r", "r", "r", " "))]
    found = Contextual(n=2, original=True).collect(records, parts, context)
    assert [[a.text for a in case.answers] for case in parts.judge.asked] == [["a", "b", "r"], ["a", "r"], ["a", "b"]]
    assert [[(r["text"], r["source"]) for r in row["responses"]] for row in found.rows] == [
        [("r", "original"), ("a", "alpaca"), ("b", "alpaca")], [("a", "alpaca"), ("r", "alpaca")],
    ]  # fmt: skip
    assert found.coverage["answers"] == 6 and found.missing == 1
    ranked, plain = (Contextual(original=given).identities(parts) for given in (True, False))
    assert ranked[0] == plain[0] and ranked[1] == {**plain[1], "original": True}
