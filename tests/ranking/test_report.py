"""Lengths by rank, duplicates, ties, correlation: by hand."""

from pathlib import Path

import pytest

from tuna.ranking.report import describe_lists, draw
from tuna.stats import spearman


def rows(*lists: list[tuple[str, float]]) -> list[dict[str, object]]:
    return [{"responses": [{"text": t, "score": s, "num_tokens": len(t)} for t, s in answers]} for answers in lists]


def test_table_4_counts_the_lists_of_the_commonest_size() -> None:
    report = describe_lists(rows([("a b c", 0), ("a", -1)], [("x", -1), ("y z", 0)], [("1", 0), ("2", 0), ("3", 0)]))
    assert (report.size, report.lengths, report.tokens) == (2, [2.5, 1.0], [4.0, 1.0])
    assert report.lists == 3 and report.answers == 7 and report.ties == pytest.approx(3 / 5)
    assert report.length_correlation == 1.0 and report.duplicates == 0
    assert "2.5     1.0 words" in "\n".join(report.lines())


def test_nothing_at_all() -> None:
    assert describe_lists([]).lines()


def test_spearman_with_ties_by_hand() -> None:
    # ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: covariance 4.5 over sqrt(4.5 * 5)
    assert spearman([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(4.5 / (4.5 * 5) ** 0.5)
    assert spearman([1, 2, 3], [3, 2, 1]) == -1 and spearman([1], [1]) is None


def test_the_picture(tmp_path: Path) -> None:
    draw(describe_lists(rows([("a b", 1), ("a", 0)])), tmp_path / "a.png", "test")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_whole_scores_have_a_bar_each() -> None:
    rows = [{"responses": [{"text": "a", "score": score} for score in (0, -1, -3, -3)]}]
    edges, counts = describe_lists(rows).histogram
    assert edges == [-3.5, -2.5, -1.5, -0.5, 0.5] and counts == [2, 0, 1, 1]
    _, counts = describe_lists([{"responses": [{"text": "a", "score": score} for score in (0.5, -1000)]}]).histogram
    assert len(counts) == 10
