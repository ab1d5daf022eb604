"""Columns: any layout as our rows, what is refused before and in the rows."""

from pathlib import Path
from typing import Any

import pytest

from tests.data.make import write
from tuna.data.columns import check_columns, mapped_row
from tuna.data.load import Source, load_source, load_sources
from tuna.errors import ConfigError, DataError


def test_texts_with_lists_beside_them() -> None:
    columns = {"id": "n", "instruction": "ask.what", "responses": "outs", "score": "marks", "logprob": "lp"}
    row = {"n": 3, "ask": {"what": "Add."}, "outs": ["3", "4"], "marks": [2, 1], "lp": [-1.0, -2.0], "more": 1}
    assert mapped_row(row, columns) == {
        "id": 3,
        "instruction": "Add.",
        "responses": [{"text": "3", "score": 2, "logprob": -1.0}, {"text": "4", "score": 1, "logprob": -2.0}],
    }


def test_objects_hold_their_own_or_lists_stand_beside_them() -> None:
    columns = {"instruction": "q", "responses": "outs", "text": "said", "score": "judge.mark", "reasoning": "thoughts"}
    outs = [{"said": "3", "judge": {"mark": 9}, "finish_reason": "length", "text": "no"}, {"said": "4"}]
    row = {"q": "Add.", "outs": outs, "thoughts": ["1 + 2", None]}
    assert mapped_row(row, columns)["responses"] == [
        {"text": "3", "score": 9, "finish_reason": "length", "reasoning": "1 + 2"},
        {"text": "4", "reasoning": None},
    ]


def test_one_column_a_response() -> None:
    columns = {"instruction": "q", "responses": ["a", "b", "c"], "score": ["sa", "sb", "sc"]}
    row = {"q": "Add.", "a": "3", "b": None, "c": "4", "sa": 1, "sb": 7, "sc": 0}
    assert mapped_row(row, columns)["responses"] == [{"text": "3", "score": 1}, {"text": "4", "score": 0}]


def test_conversations_and_system_prompts() -> None:
    columns = {"messages": "turns", "system": "rules", "tools": "tools"}
    turns = [{"from": "human", "value": "Add."}, {"from": "gpt", "value": "3"}]
    assert mapped_row({"turns": turns, "rules": "Be brief.", "tools": None}, columns) == {
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Add."}],
        "output": "3",
    }
    short = {"instruction": "q", "input": "x", "system": "rules"}
    assert mapped_row({"q": "Add.", "x": "1 2", "rules": "Be brief."}, short)["messages"][1]["content"] == "Add.\n1 2"
    assert mapped_row({"q": "Add.", "x": "1 2", "rules": ""}, short) == {"instruction": "Add.", "input": "1 2"}


def test_pairs() -> None:
    columns = {"messages": "turns", "chosen": "yes", "rejected": "no", "score": ["s_yes", "s_no"]}
    turns = [{"role": "user", "content": "Add."}]
    assert mapped_row({"turns": turns, "yes": "3", "no": "4", "s_yes": 8, "s_no": 8}, columns) == {
        "prompt": turns,
        "chosen": "3",
        "rejected": "4",
        "score_chosen": 8,
        "score_rejected": 8,
    }


def test_a_file_is_read_by_its_columns(tmp_path: Path) -> None:
    rows = [
        {"q": "Add.", "outs": ["3", "4"], "marks": [2, 1]},
        {"q": "Add.", "outs": ["3", "4"], "marks": [2]},
        {"q": "Add.", "outs": "3", "marks": [2]},
        {"outs": ["3", "4"], "marks": [2, 1]},
    ]
    path = write(tmp_path / "a.jsonl", rows)
    columns = {"instruction": "q", "responses": "outs", "score": "marks"}
    loaded = load_source(Source(path, columns=columns, original="none"))
    assert loaded.format == "tuna"
    assert [(c.text, c.score) for c in loaded.records[0].responses] == [("3", 2.0), ("4", 1.0)]
    assert loaded.problems == [
        f"{path}:2: score: expected 2 values, one per response, got a list of 1",
        f"{path}:3: responses: expected a list of objects with text and score, got '3'",
        f"{path}:4: instruction: expected a string, got nothing",
    ]
    assert loaded.reasons["bad row: score: expected 2 values, one per response"] == 1
    pairs = write(tmp_path / "b.jsonl", [{"q": "Add.", "yes": "3", "no": "4"}])
    columns = {"instruction": "q", "chosen": "yes", "rejected": "no"}
    loaded = load_source(Source(pairs, columns=columns))
    assert (loaded.format, loaded.original_best, loaded.records[0].instruction) == ("pairs", True, "Add.")


def test_a_column_that_no_row_has(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"q": "Add.", "outs": [{"said": "3", "mark": None}]}, {"q": "Add.", "w": 1}])
    columns: dict[str, Any] = {"instruction": "q", "responses": "outs", "text": "said", "score": "mark", "input": "w"}
    assert len(load_source(Source(path, None, columns=columns)).problems) == 2  # both lack an output only
    with pytest.raises(DataError) as fault:
        load_sources([Source(path, columns=columns | {"score": "marc", "input": "v"}, key="input")])
    there = "the file has q, outs, w; its responses have said, mark"
    assert str(fault.value).splitlines() == [
        f"{path}: input_columns.input: no row has a column 'v'; {there}",
        f"{path}: input_columns.score: no row has a column 'marc'; {there}",
    ]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, "columns: expected a mapping such as {instruction: q, responses: outs}, got {}"),
        (["q"], "columns: expected a mapping such as"),
        ({"instruction": "q", "response": "r"}, "did you mean responses"),
        ({"instruction": 3}, "columns.instruction: expected the name of a column, got 3"),
        ({"instruction": ["q"]}, "columns.instruction: expected the name of a column, got ['q']"),
        ({"instruction": "q", "responses": []}, "columns.responses: expected the name of a column or a list of names"),
        ({"responses": "r"}, "columns: expected instruction or messages, which hold the question"),
        ({"instruction": "q", "messages": "m"}, "columns: expected instruction (and input) or messages, got both"),
        ({"instruction": "q", "chosen": "c"}, "columns: expected chosen and rejected together"),
        ({"chosen": "c", "rejected": "r", "responses": "x"}, "or responses and output, got both"),
        ({"chosen": "c", "rejected": "r", "logprob": "x"}, "expected score alone beside chosen and rejected"),
        ({"instruction": "q", "score": "s"}, "columns: expected responses beside score"),
    ],
)
def test_columns_that_cannot_be(columns: Any, message: str) -> None:
    with pytest.raises(ConfigError) as fault:
        check_columns(columns)
    assert message in str(fault.value)


def test_an_answer_after_the_turns_is_not_read_twice_nor_in_part(tmp_path: Path) -> None:
    thought = {"role": "assistant", "content": "3", "reasoning_content": "1 + 2"}
    rows = [
        {"turns": [{"role": "user", "content": "Add."}, {"role": "assistant", "content": "3"}], "out": "3"},
        {"turns": [{"role": "user", "content": "Add."}, thought]},
        {"turns": [{"role": "assistant", "content": "Hi."}]},
    ]
    path = write(tmp_path / "a.jsonl", rows)
    problems = load_source(Source(path, None, columns={"messages": "turns", "output": "out"})).problems
    assert len(problems) == 3
    assert all("messages: expected the turns up to the answer" in problem for problem in problems)
