"""Answers from choices, as the store keeps them, as the output shows them."""

from typing import Any

import pytest

from tuna.data.record import Candidate, Record
from tuna.ranking.answers import Answer, candidate, from_choice, given_answers, output_row


@pytest.mark.parametrize(
    ("choice", "useless"),
    [
        ({"text": " "}, "empty answer"),
        ({"message": {"content": None}}, "empty answer"),
        ({"message": {"content": "No", "refusal": "I cannot."}}, "refusal: I cannot."),
        ({"text": "half", "finish_reason": "content_filter"}, "content filter"),
        ({"text": "fine", "finish_reason": "length"}, None),
    ],
)
def test_what_cannot_be_ranked(choice: dict[str, Any], useless: str | None) -> None:
    assert from_choice(choice).useless == useless


@pytest.mark.parametrize("choice", [{}, {"message": "text"}, {"index": 0}])
def test_what_is_no_choice(choice: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="without text or message"):
        from_choice(choice)


def test_the_store_gives_back_what_it_took() -> None:
    answer = from_choice({"text": "\ud83d half a pair", "logprobs": {"token_logprobs": [-0.25, -0.5]}})
    assert answer.text == "? half a pair" and (answer.logprob, answer.num_tokens) == (-0.75, 2)
    assert Answer(**answer.to_dict()) == answer and "refused" not in answer.to_dict()


def test_the_output_keeps_what_the_record_carried() -> None:
    answers = (Candidate("x", 0.0, logprob=-1.0, num_tokens=2, source="a"), Candidate("y", 0.0))
    record = Record("7", "Q", "in", "out", answers, extra={"task": "t", "judge": "old"}, template="none")
    assert given_answers(record) == [Answer("x", -1.0, 2), Answer("y")]
    row = output_row(record, [candidate(answer, 0.0, "m") for answer in given_answers(record)], judge={"by": "new"})
    assert row["judge"] == {"by": "new"} and row["task"] == "t" and row["template"] == "none"
    assert row["responses"][0] == {"text": "x", "score": 0.0, "logprob": -1.0, "num_tokens": 2, "source": "m"}
    assert row["responses"][1] == {"text": "y", "score": 0.0, "source": "m"}
