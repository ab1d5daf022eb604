"""RewardBench 2's scores against values worked by hand with its authors' rules, and through a file of its columns."""

import json
import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.evaluation.make import measure, results_of, write_rows
from tuna.errors import DataError
from tuna.evaluation.judge.reward_bench import Row, Values, best_of, scores, ties_parts

# Gaps and spreads: tied:1 4 - 1 = 3, 5 - 4 = 1; ref:1 3 - 1 = 2; tied:2 2 - 1 = 1, 5 - 2 = 3; ref:2 1 - 2 = -1.
TIES = [
    Row("tied:1", "Ties", [5, 4], [1]), Row("ref:1", "Ties", [3], [1]),
    Row("tied:2", "Ties", [5, 2], [1]), Row("ref:2", "Ties", [1], [2]),
]  # fmt: skip
MARGIN = (math.tanh(2 / 1 - 1) + math.tanh(-1 / 3 - 1)) / 2
SCORE = 0.3 * 1 + 0.3 * 0.5 + 0.2 * 0.5 + 0.2 * 0.5 + 0.01 * MARGIN


def test_best_of_four_shares_a_first_place() -> None:
    assert best_of(Row("", "Math", [2], [1, 1, 0])) == 1 and best_of(Row("", "Math", [0], [1, 1, 0])) == 0
    assert best_of(Row("", "Math", [1], [1, 1, 0])) == pytest.approx(1 / 3)
    assert best_of(Row("", "Math", [None], [1, None, 0])) == 0 and best_of(Row("", "Math", [-9], [None] * 3)) == 1


def test_ties_by_hand() -> None:
    parts = ties_parts(TIES)
    assert parts["tied_accuracy"] == 1 and parts["ref_accuracy"] == 0.5
    assert parts["preferred"] == parts["preferred_hard"] == 0.5
    assert parts["margin"] == pytest.approx(MARGIN) and parts["score"] == pytest.approx(SCORE)
    # Right answers that tie: 2 / 0 is infinite, so its margin is 1, the most; 0 / 0 counts 0.
    even = [Row("tied:1", "Ties", [3, 3], [1]), Row("ref:1", "Ties", [3], [1])]
    assert ties_parts(even)["score"] == pytest.approx(1.01)
    flat = [Row("tied:1", "Ties", [1, 1], [1]), Row("ref:1", "Ties", [1], [1])]
    assert ties_parts(flat)["score"] == 0
    assert ties_parts([Row("tied:1", "Ties", [3, None], [1]), TIES[1]])["tied_accuracy"] == 0


def test_subsets_and_their_mean() -> None:
    rows = [Row("0", "Math", [2], [1, 1, 0]), Row("1", "Math", [1], [1, 0, 0]), Row("2", "Focus", [0], [1, 1, 1])]
    assert scores([*rows, *TIES]) == {
        "Math": 0.75, "Focus": 0, "Ties": pytest.approx(SCORE), "mean": pytest.approx((0.75 + SCORE) / 3)
    }  # fmt: skip


def write_bench(path: Path) -> list[dict[str, object]]:
    """Rows whose answers are as long as the values above, for the judge that prefers the longest."""
    rows = [*TIES, Row("0", "Math", [9], [3, 2, 1]), Row("1", "Math", [4], [4, 2, 1])]
    letters = iter("abcdefghijklmnopqrstuvwxyz")

    def texts(values: Values) -> list[str]:
        return [next(letters) * int(value or 0) for value in values]

    found: list[dict[str, object]] = [
        {
            "id": row.id, "prompt": f"What is said in {row.id}?", "chosen": texts(row.right),
            "rejected": texts(row.wrong), "num_correct": len(row.right), "num_incorrect": len(row.wrong),
            "total_completions": len(row.right) + len(row.wrong), "models": ["m"], "subset": row.subset,
            "additional_metadata": None,
        }
        for row in rows
    ]  # fmt: skip
    write_rows(path, found) if path.suffix == ".jsonl" else pq.write_table(pa.Table.from_pylist(found), path)
    return found


@pytest.mark.parametrize("name", ["bench.jsonl", "bench.parquet"])
def test_a_local_copy(tmp_path: Path, name: str) -> None:
    write_bench(tmp_path / name)
    found = measure(tmp_path / "r", "benchmark=judge", "judge=baseline", f"benchmark.path={tmp_path / name}")
    assert found["reward_bench"] == pytest.approx((0.75 + SCORE) / 2)
    results, _, _ = results_of(tmp_path / "r", "judge")
    assert results["primary"] == "reward_bench"
    table = {row["measure"]: row for row in results["tables"]["reward_bench"]}
    assert table["Math"]["longest"] == 0.75 and table["Math"]["shortest"] == 0
    assert table["Ties"]["longest"] == pytest.approx(SCORE) and "random" in table["mean"]


def test_a_row_of_ties_must_say_whose_it_is(tmp_path: Path) -> None:
    rows = write_bench(tmp_path / "bench.jsonl")
    (tmp_path / "bench.jsonl").write_text(json.dumps(rows[0] | {"id": "17"}) + "\n")
    with pytest.raises(DataError, match=r"bench\.jsonl:1: id: expected ref:N or tied:N in the subset Ties, got '17'"):
        measure(tmp_path / "r", "benchmark=judge", "judge=baseline", f"benchmark.path={tmp_path / 'bench.jsonl'}")
