"""The benchmark of a function of the user's: the mean, what it cannot say, what fails, and what is tried again."""

from pathlib import Path

import pytest

from tests.evaluation.make import measure, results_of, write_rows
from tuna.errors import ConfigError, DataError, RunError

TEXT = """
import pathlib
def score(prompt, answer, row):
    if answer == "bad" and not pathlib.Path(__file__).with_name("mended").exists():
        raise ValueError("bad")
    return None if answer == "none" else answer == row["reference"]
def length(answers, row):
    return [len(answer) + row["category"].count("t") for answer in answers]
"""
ANSWERS = ["a", "b", "x", "none", "bad"]


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    (tmp_path / "mine.py").write_text(TEXT)
    rows = [
        {"id": f"q{n}", "instruction": f"Q{n}", "reference": "abcdef"[n], "category": "odd" if n % 2 else "tt"}
        for n in range(6)
    ]
    write_rows(tmp_path / "q.jsonl", rows)
    write_rows(tmp_path / "a.jsonl", [{"id": f"q{n}", "prediction": text} for n, text in enumerate(ANSWERS)])
    return [
        "benchmark=function", f"benchmark.questions={tmp_path / 'q.jsonl'}", f"answers={tmp_path / 'a.jsonl'}",
        f"benchmark.function={tmp_path / 'mine.py'}:score",
    ]  # fmt: skip


def test_mean_none_and_faults_then_only_what_failed(tmp_path: Path, words: list[str]) -> None:
    scores = measure(tmp_path / "results", *words)
    assert scores == {"score": pytest.approx(2 / 3), "cannot_say": pytest.approx(1 / 6), "faults": pytest.approx(1 / 6)}
    results, examples, place = results_of(tmp_path / "results", "function")
    assert results["status"] == "incomplete" and results["coverage"]["missing"] == ["q3", "q4", "q5"]
    assert results["tables"]["by_task"] == [
        {"task": "odd", "n": 1, "score": 1.0}, {"task": "tt", "n": 2, "score": 0.5},
    ]  # fmt: skip
    low, high = results["intervals"]["score"]
    assert low <= 2 / 3 <= high
    assert [example["scores"]["score"] for example in examples] == [1, 1, 0, None, None, None]
    assert "score raised ValueError: bad" in examples[4]["reason"] and "Traceback" in examples[4]["raw"][1]
    assert any("score raised ValueError: bad: 1 (question q4)" in note for note in results["notes"])
    (tmp_path / "mended").touch()
    assert measure(tmp_path / "results", *words)["faults"] == 0
    results, examples, _ = results_of(tmp_path / "results", "function")
    assert results["status"] == "finished" and results["coverage"]["n"] == 4 and examples[4]["scores"]["score"] == 0
    assert len((place / "store" / "scores.jsonl").read_text().splitlines()) == 5


def test_several_are_shown_by_themselves(tmp_path: Path, words: list[str]) -> None:
    function = f"benchmark.function=[{tmp_path / 'mine.py'}:score,{tmp_path / 'mine.py'}:length]"
    (tmp_path / "mended").touch()
    scores = measure(tmp_path / "results", *words[:3], function, "benchmark.weights=[10,1]")
    assert scores["mine.py:score"] == 0.5 and scores["mine.py:length"] == pytest.approx((3 + 1 + 3 + 4 + 5) / 5)
    assert scores["score"] == pytest.approx((13 + 11 + 3 + 5) / 4)
    _, examples, _ = results_of(tmp_path / "results", "function")
    assert examples[0]["values"] == [1, 3] and examples[3]["values"] == [None, 4]


def test_the_tiny_model_answers(tmp_path: Path, words: list[str]) -> None:
    scores = measure(tmp_path / "results", *words[:2], words[3].replace("score", "length"), "benchmark.max_tokens=4")
    assert scores["score"] is not None and scores["faults"] == 0


def test_nothing_that_counts_is_no_success(tmp_path: Path, words: list[str]) -> None:
    write_rows(tmp_path / "a.jsonl", [{"id": "q0", "prediction": "none"}])
    with pytest.raises(RunError, match="none of 6 questions"):
        measure(tmp_path / "results", *words)


def test_what_is_wrong_is_told_first(tmp_path: Path, words: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"benchmark\.function: missing; give benchmark\.function=PATH\.py:NAME"):
        measure(tmp_path / "results", *words[:3])
    with pytest.raises(ConfigError, match=r"^benchmark\.function: .*mine\.py: it has no scor; did you mean score\?$"):
        measure(tmp_path / "results", *words[:3], words[3][:-1])
    (tmp_path / "q.jsonl").write_text('{"id": 1}\n')
    with pytest.raises(DataError, match=r"q\.jsonl:1"):
        measure(tmp_path / "results", *words)
