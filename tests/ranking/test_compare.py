"""Agreement between two files, and what cannot be compared."""

import math
from pathlib import Path

import pytest

from tests.inference.make import write_rows
from tuna.errors import DataError
from tuna.ranking.compare import compare


def ranked(key: str, **scores: float) -> dict[str, object]:
    return {"id": key, "responses": [{"text": text, "score": score} for text, score in scores.items()]}


def test_by_hand(tmp_path: Path) -> None:
    one = write_rows(tmp_path / "a", [ranked("1", a=2, b=1, c=0), ranked("2", a=1, b=0), ranked("3", a=1, b=0)])
    two = write_rows(tmp_path / "b", [ranked("1", b=2, a=1, c=0), ranked("2", a=5, b=-5), ranked("4", a=1, b=0)])
    found = compare(str(one), str(two))
    assert (found.lists, found.only_first, found.only_second) == (2, 1, 1)
    assert found.spearman.mean == pytest.approx((0.5 + 1) / 2) and found.pairs.mean == pytest.approx((2 / 3 + 1) / 2)


def test_ties_and_answers_in_one_alone(tmp_path: Path) -> None:
    one = write_rows(tmp_path / "a", [ranked("1", a=1, b=1), ranked("2", a=1, b=0, c=5)])
    two = write_rows(tmp_path / "b", [ranked("1", a=1, b=0), ranked("2", a=1, b=0, d=5)])
    found = compare(str(one), str(two))
    assert found.lists == 2 and found.spearman.lists == 1 and not math.isnan(found.spearman.mean)
    assert found.pairs.mean == 0.75  # a tie orders a pair half right


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    one = write_rows(tmp_path / "a", [ranked("1", a=1, b=0)])
    with pytest.raises(DataError, match="no list with two answers in common"):
        compare(str(one), str(write_rows(tmp_path / "b", [ranked("2", a=1, b=0)])))
    with pytest.raises(DataError, match="c:1: expected a ranked list"):
        compare(str(one), str(write_rows(tmp_path / "c", [{"instruction": "x"}])))
