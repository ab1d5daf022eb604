"""The tasks in English: their answers satisfy the checker, the parts share no argument, a seed decides everything."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest

from tools.english.__main__ import main
from tools.english.questions import GRADES, TASKS, Question, make_part
from tuna.assets.checker import mark
from tuna.assets.replies import fault


def asked(name: str, grade: int, count: int = 12) -> list[Question]:
    rng = random.Random(f"{name} {grade}")
    return [TASKS[name](rng, grade) for _ in range(count)]


@pytest.mark.parametrize("name", sorted(TASKS))
def test_outputs_are_right_and_nonsense_is_not(name: str) -> None:
    for grade in GRADES:
        for question in asked(name, grade):
            record = question.record("x", name)
            assert fault(record) is None
            assert record["grade"] == grade
            assert mark(record, question.output) == 1.0, record
            assert mark(record, "a wobbling tower of nothing") == 0.0
            assert mark(record, "") == 0.0


def test_outputs_are_short() -> None:
    assert (
        max(len(question.output.split()) for name in TASKS for grade in GRADES for question in asked(name, grade)) < 20
    )


@pytest.fixture(scope="module")
def parts() -> dict[bool, list[dict[str, Any]]]:
    return {held_out: make_part(0, held_out, 430) for held_out in (False, True)}


def test_parts_have_every_task_and_grade_and_no_question_twice(parts: dict[bool, list[dict[str, Any]]]) -> None:
    for rows in parts.values():
        assert len(rows) == 430
        assert {row["task"] for row in rows} == set(TASKS)
        assert {row["grade"] for row in rows} == set(GRADES)
        assert len({(row["instruction"], row["input"]) for row in rows}) == len({row["id"] for row in rows}) == 430


def test_a_part_has_the_arguments_that_hash_to_it() -> None:
    keys: dict[bool, set[str]] = {False: set(), True: set()}
    for name in TASKS:
        for question in asked(name, 1):
            keys[question.held_out].add(question.key)
    assert keys[False] and keys[True] and not keys[False] & keys[True]


def test_a_word_is_in_the_same_part_for_every_task() -> None:
    of_wording = [Question("fox", grade, "?", "", "says", ("fox",)).held_out for grade in GRADES]
    assert len(set(of_wording)) == 1


def test_a_seed_decides_everything(parts: dict[bool, list[dict[str, Any]]]) -> None:
    assert make_part(0, True, 430) == parts[True]
    assert make_part(1, True, 430) != parts[True]


def test_small_tasks_run_short_and_others_make_up_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    small = Question("one", 1, "Say one.", "one", "says", ("one",))
    other = {held_out: [str(n) for n in range(99) if Question(str(n), 1, "", "", "says", ()).held_out == held_out]
             for held_out in (False, True)}  # fmt: skip

    def count(rng: random.Random, grade: int) -> Question:
        key = rng.choice(other[small.held_out])
        return Question(key, grade, f"Say {key}.", key, "says", (key,))

    monkeypatch.setattr("tools.english.questions.TASKS", {"small": lambda rng, grade: small, "count": count})
    rows = make_part(0, small.held_out, 10)
    assert [row["task"] for row in rows].count("small") == 1
    assert len(rows) == 10


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(
        sys,
        "argv",
        ["english", "--out", str(tmp_path / "new"), "--train", "30", "--held-out", "20", "--grades", "1", "2"],
    )
    main()
    for name, count in (("train", 30), ("held_out", 20)):
        rows = [
            json.loads(line) for line in (tmp_path / "new" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        ]
        assert len(rows) == count
        assert {row["grade"] for row in rows} == {1, 2}
        assert {"id", "task", "grade", "instruction", "input", "output", "check", "answers"} <= set(rows[0])
    assert "30 questions" in capsys.readouterr().out
