"""The offline judge: the checker's marks, else ROUGE-L, equal to the rouge-score package's; ties."""

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.inference.make import collect, read_rows, write_answers, write_rows
from tuna.data.record import Record
from tuna.errors import ConfigError
from tuna.inference.answers import Answer
from tuna.judges.base import Case, Pair, Ruling
from tuna.judges.checker import Checker, rouge_l


def test_marks_of_the_checker_and_ties(tmp_path: Path) -> None:
    given = {
        "id": "a", "instruction": "Name a colour.", "output": "red", "check": "one_of", "answers": ["red", "blue"],
        "responses": [{"text": "dog"}, {"text": "Blue."}, {"text": "red"}],
    }  # fmt: skip
    collect(tmp_path, write_rows(tmp_path / "in.jsonl", [given]), score_only="true")
    row = read_rows(tmp_path / "out.jsonl")[0]
    assert [(r["text"], r["score"], r["judge_score"]) for r in row["responses"]] == [
        ("Blue.", 0, 1.0), ("red", 0, 1.0), ("dog", -1, 0.0),
    ]  # fmt: skip
    assert row["judge"] == {"judge": "checker", "by": "checker"} and row["answers"] == ["red", "blue"]


@pytest.mark.parametrize(("answers", "better"), [(["7"], 1), (["a few"], 0)])
def test_answers_that_the_check_cannot_use_are_no_check(answers: list[str], better: int) -> None:
    record = Record("a", "How many?", output="7", extra={"check": "number", "answers": answers})
    (comparison,) = Checker().compare([Pair(record, "seven", "8")], None)  # type: ignore[arg-type]
    assert comparison.verdicts == (better, better)  # by ROUGE-L to "7" neither is


def test_rouge_to_the_original_elsewhere(tmp_path: Path) -> None:
    collect(tmp_path, write_answers(tmp_path / "in.jsonl", 2), score_only="true")
    row = read_rows(tmp_path / "out.jsonl")[0]
    assert [r["text"][-1] for r in row["responses"]] == ["3", "2", "1", "0"] and row["judge"]["by"] == "rouge"


def test_marks_tie_where_they_are_equal_not_where_they_look_so() -> None:
    """1,499 of 1,500 words, and all of them with one too many: 2998/2999 and 3000/3001, both written as 0.999667."""
    record = Record("a", "Q", output="a " * 1500)
    short, long = Answer("a " * 1499), Answer("a " * 1500 + "b")
    context: Any = None  # a checker asks nobody
    (ruling,) = Checker().judge([Case(record, [short, long, short])], context)
    assert isinstance(ruling, Ruling)
    assert ruling.levels == [1, 0, 1] and ruling.marks == [0.999667] * 3
    assert Checker().compare([Pair(record, long.text, short.text)], context)[0].outcome == "win"


def test_nothing_to_go_by_is_set_aside_and_told_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers = [{"text": "x"}, {"text": "y"}]
    rows = [{"id": "a", "instruction": "Q", "responses": answers}]
    rows += [{"id": "b", "instruction": "R", "output": "x", "responses": answers}]
    figures = collect(tmp_path, write_rows(tmp_path / "in.jsonl", rows), score_only="true")
    assert figures["lists"] == 1 and figures["unusable"] == 1
    assert "neither check" in (tmp_path / "out.unusable.jsonl").read_text()
    assert "note: judge=checker cannot judge 1 of 2 questions (" in capsys.readouterr().out


@pytest.mark.parametrize(
    "columns", [{}, {"output": " "}, {"check": "ok", "answers": ["x"]}, {"check": "one_of", "answers": "x"}]
)
def test_questions_without_anything_to_go_by_are_refused_at_once(tmp_path: Path, columns: dict[str, object]) -> None:
    source = write_rows(tmp_path / "in.jsonl", [{"instruction": "Q", **columns}, {"instruction": "R", **columns}])
    with pytest.raises(ConfigError, match=r"cannot judge 2 of 2 questions \(.*in\.jsonl:1, .*judge=openai"):
        collect(tmp_path, source, "model=tiny")
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


# In a process of its own: the package brings absl's logging, which holds on to pytest's stderr.
PACKAGE = """
import json, sys
from rouge_score.rouge_scorer import RougeScorer

scorer = RougeScorer(["rougeL"])
print(json.dumps([scorer.score(a, b)["rougeL"].fmeasure for a, b in json.load(sys.stdin)]))
"""


def test_equals_the_package_on_random_texts() -> None:
    rng = random.Random(0)
    pairs = [
        [" ".join(rng.choice("A b, c-d 12 x. y z") for _ in range(rng.randint(1, 120))) for _ in range(2)]
        for _ in range(300)
    ]
    done = subprocess.run(
        [sys.executable, "-c", PACKAGE], input=json.dumps(pairs), capture_output=True, text=True, check=True
    )
    for (a, b), expected in zip(pairs, json.loads(done.stdout), strict=True):
        assert abs(rouge_l(a, b) - (1.0 if a == b else expected)) < 1e-12


def test_edges() -> None:
    assert rouge_l("", "") == 1 and rouge_l("!", "?") == 0 and rouge_l("a", "") == 0
    assert rouge_l("你好吗", "你好") == 0.8
