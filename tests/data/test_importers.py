"""Each importer on a row written by hand from its field list, and what each refuses."""

from collections import Counter
from typing import Any

import pytest

from tuna.data.fields import FieldError
from tuna.data.importers import choose, importers
from tuna.data.record import Candidate, Record
from tuna.data.templates import alpaca
from tuna.errors import ConfigError, DataError

TUNA = {"id": "t", "instruction": "Add.", "output": "3", "responses": [{"text": "3", "score": 1}], "split": "x"}
ALPACA = {"instruction": "Add.", "input": "1 2", "output": "3"}
DAVINCI = {
    "orig": ALPACA,
    "text": ["3", "4", "5", "6"],
    "avg_token_prob": [-0.5, -1.0, -2.0, -1.0],
    "length": [2, 2, 3, 1],
    "logprob": [-1.0, -2.0, [-2.0, -2.0, -2.0], -1.0],
}
GPT4 = {
    "prompt": "Rank ...",
    "instruct": alpaca(Record("0", "Add.", "1 2")).text,
    "generation": ["3", "4", "three", "3"],
    "id": 7,
    "gpt_eval": "...\nrank: [2, 4, 0, 1]",
    "rank_str": "[2, 4, 0, 1]",
    "rank": [2, 4, 0, 1],
    "response_4": "It is 3.",
}
FORMATTED = {"instruction": "Below ... ### Response:", "output": ["3", "4"], "score": [0.5, -1], "id": 3}
PAIRS = {"prompt": "Add.", "chosen": "3", "rejected": "4"}
ALL: dict[str, dict[str, Any]] = {
    "tuna": TUNA,
    "alpaca": ALPACA,
    "davinci": DAVINCI,
    "gpt4_ranking": GPT4,
    "formatted": FORMATTED,
    "pairs": PAIRS,
}


def _read(name: str, row: dict[str, Any], index: int = 0) -> Record:
    return importers()[name].read(row, "f:1", index)


def test_every_row_is_recognized_by_its_importer_alone() -> None:
    for name, row in ALL.items():
        assert choose("auto", [None, row], "f").name == name


def test_unknown_formats() -> None:
    with pytest.raises(ConfigError, match="got 'alpca'; did you mean alpaca"):
        choose("alpca", [ALPACA], "f")
    with pytest.raises(
        DataError, match=r"f: expected a known format, got fields question, answer\. Known: alpaca \(ins"
    ):
        choose("auto", [{"question": "a", "answer": "b"}], "f")


def test_tuna() -> None:
    record = _read("tuna", TUNA | {"input": None})
    assert record == Record("t", "Add.", "", "3", (Candidate("3", 1.0),), where="f:1", extra={"split": "x"})
    full = {"text": "3", "logprob": -1, "num_tokens": 2.0, "source": "m", "finish_reason": "length", "k": 1}
    candidate = _read("tuna", TUNA | {"responses": [full]}).responses[0]
    assert candidate == Candidate("3", None, -1.0, 2, "m", "length", {"k": 1})
    assert not candidate.complete


def test_tuna_with_messages() -> None:
    turns = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Add."}]
    given = {
        "messages": turns,
        "tools": [{"name": "add"}],
        "responses": [{"text": "3", "score": 1, "reasoning": "1 + 2"}],
    }
    record = _read("tuna", given | {"output": "3"})
    assert record.messages == tuple(turns) and record.tools == ({"name": "add"},) and record.instruction == "Add."
    assert record.responses == (Candidate("3", 1.0, reasoning="1 + 2"),) and record.output == "3"
    assert _read("tuna", given | {"instruction": "Add."}) == _read("tuna", given)
    with pytest.raises(FieldError, match=r"expected the last user turn of messages, got 'Sub\.'; that is 'Add\.'"):
        _read("tuna", given | {"instruction": "Sub."})
    with pytest.raises(FieldError, match="messages: expected the conversation up to the answer, got 'assistant: "):
        _read("tuna", given | {"messages": [*turns, {"role": "assistant", "content": "3"}]})
    assert _read("tuna", {**given, "messages": turns[1:], "tools": None}).messages == (), "the short form"


def test_columns_that_every_format_reads() -> None:
    record = _read(
        "alpaca", ALPACA | {"system": "Be short.", "history": [["Hi.", "Hello."]], "tools": '[{"name": "f"}]'}
    )
    assert [(m["role"], m["content"]) for m in record.messages] == [
        ("system", "Be short."), ("user", "Hi."), ("assistant", "Hello."), ("user", "Add.\n1 2"),
    ]  # fmt: skip
    assert (record.instruction, record.input, record.tools) == ("Add.\n1 2", "", ({"name": "f"},))
    assert not record.extra
    assert _read("alpaca", ALPACA | {"system": " ", "tools": "[]"}).messages == ()
    with pytest.raises(FieldError, match="system: expected nothing beside a finished prompt"):
        _read("formatted", FORMATTED | {"system": "Be short."})
    with pytest.raises(FieldError, match=r"history\[0\]: expected a question and its answer, got a list of 1"):
        _read("alpaca", ALPACA | {"history": [["Hi."]]})
    with pytest.raises(FieldError, match="tools: expected a list of functions, or JSON of one, got 'f'"):
        _read("alpaca", ALPACA | {"tools": "f"})


def test_a_column_that_may_be_of_the_conversation_is_counted() -> None:
    notes: Counter[str] = Counter()
    row = PAIRS | {"conversation": [{"input": "Hi."}], "takes": ["a b", "c d"], "models": ["a", "b"], "context": ""}
    importers()["pairs"].read(row, "f:1", 0, notes)
    assert sorted(notes) == [
        f"rows whose column {key!r} was not read, though it may be of the question or the answers"
        for key in ("conversation", "takes")
    ]


def test_alpaca() -> None:
    assert _read("alpaca", ALPACA, 5) == Record("5", "Add.", "1 2", "3", where="f:1")
    assert _read("alpaca", {"instruction": "Add.", "id": 9}).output is None


def test_davinci() -> None:
    record = _read("davinci", DAVINCI, 2)
    assert (record.id, record.instruction, record.input, record.output) == ("2", "Add.", "1 2", "3")
    assert [(c.text, c.logprob, c.num_tokens, c.score) for c in record.responses] == [
        ("3", -1.0, 2, None),
        ("4", -2.0, 2, None),
        ("5", -6.0, 3, None),
        ("6", -1.0, 1, None),
    ]


def test_gpt4_ranking() -> None:
    record = _read("gpt4_ranking", GPT4)
    assert (record.id, record.instruction, record.input, record.output) == ("7", "Add.", "1 2", None)
    # 4 is the judge's own reference, no candidate; answer 3 was left out of the rank.
    assert [(c.text, c.score) for c in record.responses] == [("three", 0.0), ("3", -1.0), ("4", -2.0)]
    assert record.extra["dropped"] == ["3"]
    assert record.template is None
    renamed = {**GPT4, "ranks": GPT4["rank"]}
    del renamed["rank"]
    assert _read("gpt4_ranking", renamed).responses == record.responses


def test_gpt4_ranking_repairs_a_rank_made_of_prose() -> None:
    prose = {"rank": [2, 0, 2, 15, 15], "rank_str": "[2, 0] since 2 has 15 of 15"}
    assert [c.text for c in _read("gpt4_ranking", GPT4 | prose).responses] == ["three", "3"]
    said = {"rank": [0, 0], "rank_str": None, "gpt_eval": "I would rank: wait.\nRank: [1, 0]"}
    assert [c.text for c in _read("gpt4_ranking", GPT4 | said).responses] == ["4", "3"]


def test_formatted() -> None:
    record = _read("formatted", FORMATTED)
    assert (record.id, record.template, record.output) == ("3", "none", None)
    assert [(c.text, c.score) for c in record.responses] == [("3", 0.5), ("4", -1.0)]


def test_pairs_of_texts_and_of_messages() -> None:
    record = _read("pairs", PAIRS)
    assert [(c.text, c.score) for c in record.responses] == [("3", 1.0), ("4", 0.0)]
    user, good, bad = ({"role": r, "content": c} for r, c in (("user", "Add."), ("assistant", "3"), ("assistant", "4")))
    whole = _read("pairs", {"chosen": [user, good], "rejected": [user, bad]})
    apart = _read("pairs", {"prompt": [user], "chosen": [good], "rejected": [bad]})
    assert (record.instruction, record.responses) == (whole.instruction, whole.responses)
    assert (record.instruction, record.responses) == (apart.instruction, apart.responses)
    turns = _read("pairs", {"chosen": [user, bad, user, good], "rejected": [user, bad, user, bad]})
    assert turns.messages == (user, bad, user) and turns.instruction == "Add."
    assert [c.text for c in turns.responses] == ["3", "4"]


NAN = float("nan")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("tuna", {"instruction": None}, "instruction: expected a string, got nothing"),
        ("tuna", {"instruction": "\ud800"}, "instruction: expected valid Unicode text"),
        ("tuna", {"responses": "3"}, "responses: expected a list of objects with text and score, got '3'"),
        (
            "tuna",
            {"responses": [{"text": "3", "score": NAN}]},
            r"responses\[0\].score: expected a finite number, got NaN",
        ),
        (
            "tuna",
            {"responses": [{"text": "3", "score": True}]},
            r"responses\[0\].score: expected a finite number, got True",
        ),
        ("tuna", {"responses": [{"score": 1}]}, r"responses\[0\].text: expected a string, got nothing"),
        ("tuna", {"responses": [{"text": "3", "num_tokens": 1.5}]}, r"num_tokens: expected a whole number, got 1.5"),
        ("tuna", {"responses": ["3"]}, r"responses\[0\]: expected an object with text and score, got '3'"),
        ("tuna", {"id": [1]}, "id: expected a string or a whole number, got a list of 1"),
        ("alpaca", {"output": 3}, "output: expected a string, got 3"),
        ("davinci", {"orig": "x"}, "orig: expected an object with instruction, input, output, got 'x'"),
        ("davinci", {"orig": {"output": "3"}}, "orig.instruction: expected a string, got nothing"),
        ("davinci", {"length": [1]}, "length: expected 4 numbers, one for each of text, got a list of 1"),
        ("davinci", {"logprob": [0, 0, 0, NAN]}, r"logprob\[3\]: expected a finite number, got NaN"),
        ("gpt4_ranking", {"rank": [9], "rank_str": "", "gpt_eval": ""}, "rank: expected different numbers from 0 to 4"),
        ("formatted", {"score": [1]}, "score: expected 2 numbers, one for each of output, got a list of 1"),
        ("pairs", {"rejected": None}, "rejected: expected a string, got nothing"),
        ("pairs", {"prompt": None}, "prompt: expected a string or a list of chat messages, got nothing"),
        (
            "pairs",
            {"chosen": [{"role": "user", "content": "a"}]},
            "chosen: expected chat messages that end with the assist",
        ),
    ],
)
def test_what_each_refuses(name: str, change: dict[str, Any], message: str) -> None:
    with pytest.raises(FieldError, match=message):
        _read(name, ALL[name] | change)


def _turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


TALK = [_turn("user", "a"), _turn("assistant", "b"), _turn("user", "c")]
ANSWERS = {"chosen": "d", "rejected": "e"}


@pytest.mark.parametrize(
    ("row", "turns"),
    [
        (ANSWERS | {"prompt": "c", "messages": [*TALK, _turn("assistant", "d")]}, ["a", "b", "c"]),
        (ANSWERS | {"prompt": "c", "messages": TALK}, ["a", "b", "c"]),
        (
            {
                "prompt": [_turn("system", "s"), _turn("user", "c")],
                "chosen": [_turn("user", "c"), _turn("assistant", "d")],
                "rejected": [_turn("user", "c"), _turn("assistant", "e")],
            },
            ["s", "c"],
        ),
    ],
)
def test_pairs_find_the_whole_question(row: dict[str, Any], turns: list[str]) -> None:
    record = _read("pairs", row)
    assert [message["content"] for message in record.messages] == turns
    assert [c.text for c in record.responses] == ["d", "e"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
            "conversations: expected",
        ),
        ({"instruction": "z"}, "instruction: expected nothing beside prompt, or the same again, got 'z'"),
        ({"messages": [_turn("user", "z")]}, "messages: expected the question"),
    ],
)
def test_pairs_with_two_questions_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(FieldError, match=message):
        _read("pairs", ANSWERS | {"prompt": "c"} | change)


def test_an_input_beside_messages_is_a_part_of_them_or_refused() -> None:
    inside = {"chosen": [TALK[0], _turn("assistant", "d")], "rejected": [TALK[0], _turn("assistant", "e")]}
    assert (record := _read("pairs", inside | {"input": "a"})).input == "" and record.instruction == "a"
    with pytest.raises(FieldError, match="input: expected"):
        _read("pairs", inside | {"input": "1 2"})


def test_answers_that_are_not_read_are_counted() -> None:
    notes: Counter[str] = Counter()
    importers()["pairs"].read(ANSWERS | {"prompt": "c", "generations": ["d", "e", "f"]}, "f:1", 0, notes)
    assert [("generations" in note, count) for note, count in notes.items()] == [(True, 1)]
    equal = _read("pairs", ANSWERS | {"prompt": "c", "chosen_reward": 2, "rejected_reward": 2})
    assert [c.score for c in equal.responses] == [2.0, 2.0]
