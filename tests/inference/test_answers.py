"""Answers from choices, as the store keeps them, as the output shows them."""

from typing import Any

import pytest

from tuna.data.record import Candidate, Record
from tuna.inference.answers import Answer, apart, candidate, from_choice, given_answers, output_row
from tuna.inference.logprobs import NOT_THE_TEXTS


@pytest.mark.parametrize(
    ("choice", "unusable_reason"),
    [
        ({"text": " "}, "empty answer"),
        ({"message": {"content": None}}, "empty answer"),
        ({"message": {"content": "No", "refusal": "I cannot."}}, "refusal: I cannot."),
        ({"text": "half", "finish_reason": "content_filter"}, "content filter"),
        ({"text": "fine", "finish_reason": "length"}, None),
    ],
)
def test_what_cannot_be_ranked(choice: dict[str, Any], unusable_reason: str | None) -> None:
    assert from_choice(choice).unusable_reason == unusable_reason


def test_reasoning_is_kept_apart_wherever_it_stood() -> None:
    split = from_choice({"message": {"content": "An ash.", "reasoning_content": "Four letters fit."}})
    other = from_choice({"message": {"content": "An ash.", "reasoning": "Four letters fit."}})
    whole = from_choice({"message": {"content": "<think>Four letters fit.</think>\n\nAn ash."}})
    assert split == other == whole == Answer("An ash.", reasoning="Four letters fit.")
    assert candidate(split, 0.0, "m")["reasoning"] == "Four letters fit."


def test_an_answer_that_is_reasoning_alone_is_empty() -> None:
    for choice in ({"content": None, "reasoning_content": "hm"}, {"content": "<think>hm"}):
        answer = from_choice({"message": choice, "finish_reason": "length"})
        assert answer.unusable_reason == "empty answer: nothing after its reasoning" and answer.reasoning == "hm"


def test_log_probabilities_of_thought_and_text_together_are_not_the_texts() -> None:
    answer = apart(Answer("<think>hm</think>An ash.", -9.0, 12, "stop"))
    assert answer.text == "An ash." and (answer.logprob, answer.num_tokens) == (None, None)
    assert answer.unscored == NOT_THE_TEXTS and "unscored" not in candidate(answer, 0.0, "m")
    plain = Answer("An ash.", -9.0, 3)
    assert apart(plain) is plain


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


def test_a_conversation_is_written_as_its_messages() -> None:
    turns = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Which tree?"}
    record = Record("7", "Which tree?", responses=(Candidate("An ash.", reasoning="hm"),), messages=turns)
    row = output_row(record, [candidate(answer, 0.0, "m") for answer in given_answers(record)])
    told = {"text": "An ash.", "score": 0.0, "reasoning": "hm", "source": "m"}
    assert row == {"id": "7", "messages": list(turns), "responses": [told]}
    tool = {"type": "function", "function": {"name": "look"}}
    row = output_row(Record("8", "Which tree?", tools=(tool,)), [])
    assert row["messages"] == [{"role": "user", "content": "Which tree?"}] and row["tools"] == [tool]
