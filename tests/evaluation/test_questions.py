"""Questions in every layout, the embedded ones, the quick look; answers of a file, and what each of them answers."""

from pathlib import Path
from typing import Any

import pytest

from tests.evaluation.make import write_rows
from tuna.data.record import Record
from tuna.errors import DataError
from tuna.evaluation.questions import Question, read_answers, read_questions, spread

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


def test_fastchats_layout(tmp_path: Path) -> None:
    rows = [{"question_id": n, "category": "ab"[n % 2], "turns": [f"Why {n}?"]} for n in range(5)]
    found = read_questions(str(write_rows(tmp_path / "q.jsonl", rows)))
    assert [(q.id, q.task, q.record.instruction) for q in found.questions[:2]] == [
        ("0", "a", "Why 0?"), ("1", "b", "Why 1?"),
    ]  # fmt: skip
    assert [q.id for q in spread(found.questions, 3, lambda q: q.task)] == ["0", "1", "2"]
    assert len(found.sha256) == 64


def test_instruction_rows_keep_what_a_judge_may_use(tmp_path: Path) -> None:
    row = {
        "instruction": "Add.",
        "input": "1 2",
        "output": "3",
        "category": "maths",
        "check": "one_of",
        "answers": ["3"],
    }
    (question,) = read_questions(str(write_rows(tmp_path / "q.jsonl", [row]))).questions
    assert (question.id, question.task, question.record.input, question.record.output) == ("0", "maths", "1 2", "3")
    assert question.record.extra == {"category": "maths", "check": "one_of", "answers": ["3"]}


def test_conversations_are_told_apart_by_all_their_turns(tmp_path: Path) -> None:
    talks = [[{"role": "system", "content": who}, {"role": "user", "content": "Who?"}] for who in ("Ann.", "Bob.")]
    rows: list[dict[str, Any]] = [*({"messages": talk} for talk in talks), {"instruction": "Who?"}]
    found = read_questions(str(write_rows(tmp_path / "q.jsonl", rows)))
    assert [list(q.record.messages) for q in found.questions] == [*talks, []]
    assert {q.record.instruction for q in found.questions} == {"Who?"}
    answers = [{**row, "output": text} for row, text in zip(rows, "abc", strict=True)]
    given = read_answers(str(write_rows(tmp_path / "a.jsonl", answers)))
    found.check(given)
    assert [given.match(found.questions)[0]["", str(n)] for n in range(3)] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"messages": []}, "messages: expected one chat message or more"),
        ({"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]}, "before the answer"),
        ({"messages": [{"role": "narrator", "content": "Q"}]}, r"messages\[0\]\.role: expected one of"),
        (
            {"messages": [{"role": "user", "content": "Q"}], "tools": [{"name": "\ud800"}]},
            "tools: expected valid Unicode text",
        ),
    ],
)
def test_wrong_conversations_are_named(tmp_path: Path, row: dict[str, Any], told: str) -> None:
    with pytest.raises(DataError, match=rf":1: .*{told}"):
        read_questions(str(write_rows(tmp_path / "q.jsonl", [row])))


def test_the_embedded_questions_are_open_ended() -> None:
    found = read_questions(None).questions
    assert len(found) > 50 and all(q.record.extra["check"] == "facts" and q.record.output for q in found)


def test_all_that_is_wrong_with_questions_is_said_at_once(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"instruction": "Why?"}, {"instruction": " "}, {"instruction": 3}, {"turns": "Why not?"},
        {"instruction": "Who?", "id": "0"}, {"instruction": "What?", "category": 3},
    ]  # fmt: skip
    path = write_rows(tmp_path / "q.jsonl", rows)
    with path.open("a") as file:
        file.write('[1]\nno json\n{"instruction": "How?", "id": "\\ud800"}\n')
    with pytest.raises(DataError) as error:
        read_questions(str(path))
    said = str(error.value)
    for line, field in (
        (2, "instruction"),
        (3, "instruction"),
        (4, "turns"),
        (5, "id"),
        (6, "category"),
        (7, "line"),
        (8, "line"),
        (9, "id"),
    ):
        assert f"{path}:{line}: {field}: expected" in said
    assert "8 malformed rows" in said


def test_answers_to_no_question_are_named(tmp_path: Path) -> None:
    found = read_questions(str(write_rows(tmp_path / "q.jsonl", [{"instruction": "Why?"}, {"instruction": "How?"}])))
    good = [{"instruction": "Why?", "output": "So."}, {"id": "1", "prediction": "Thus."}]
    found.check(read_answers(str(write_rows(tmp_path / "a.jsonl", good))))
    other = [*good, {"instruction": "Whither?", "output": "There."}, {"id": "17", "prediction": "x"}]
    with pytest.raises(DataError, match=r"2 answers to no question[\s\S]*Whither\?[\s\S]*17"):
        found.check(read_answers(str(write_rows(tmp_path / "b.jsonl", other))))
