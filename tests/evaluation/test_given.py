"""Answers that lie in a file: which question each row answers, and what is said of rows that answer none."""

from pathlib import Path
from typing import Any

import pytest

from tests.evaluation.make import write_rows
from tuna.data.record import Record
from tuna.errors import DataError
from tuna.evaluation.base import Question
from tuna.evaluation.given import read_answers

QUESTIONS = [
    Question("1", Record("1", "Add."), "sum"),
    Question("2", Record("2", "Spell."), "sum"),
    Question("1", Record("1", "Shout."), "voice"),
]


def test_by_task_and_id_by_id_by_instruction(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"task": "sum", "id": 1, "prediction": "a"},
        {"id": "2", "prediction": "b"},
        {"instruction": " Shout. ", "output": "c"},
        {"id": "7", "prediction": "nobody asked"},
    ]
    found, unused = read_answers(str(write_rows(tmp_path / "a.jsonl", rows))).match(QUESTIONS)
    assert found == {("sum", "1"): "a", ("sum", "2"): "b", ("voice", "1"): "c"} and unused == 1


def test_an_id_without_a_task_answers_every_task(tmp_path: Path) -> None:
    found, unused = read_answers(str(write_rows(tmp_path / "a.jsonl", [{"id": "1", "output": "x"}]))).match(QUESTIONS)
    assert found == {("sum", "1"): "x", ("voice", "1"): "x"} and unused == 0


def test_all_faults_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"id": "1", "output": "x"}\n{"id": "1", "output": "y"}\n{"id": "2"}\n{"output": "z"}\n[]\nnot json\n'
    )
    with pytest.raises(DataError) as error:
        read_answers(str(path))
    said = str(error.value).splitlines()
    assert f"{path}:2: answers the same question as {path}:1" in said[0]
    assert f"{path}:3: output: expected a text" in said[1] and f"{path}:4: id: expected an id" in said[2]
    assert len(said) == 6 and "5 malformed rows" in said[5] and "bad_rows" not in str(error.value)


def test_answers_to_other_questions_are_an_error(tmp_path: Path) -> None:
    answers = read_answers(str(write_rows(tmp_path / "a.jsonl", [{"id": "9", "output": "x"}])))
    with pytest.raises(DataError, match="answers none of the 3 questions"):
        answers.match(QUESTIONS)
