"""Answers from choices, as the store keeps them, as the output shows them."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tuna.data.record import Candidate, Record
from tuna.errors import RunError
from tuna.inference.answers import (
    NO_NUMBER,
    NOT_THE_TEXTS,
    Answer,
    apart,
    candidate,
    from_choice,
    given_answers,
    output_row,
    outside_thought,
    split_thought,
    stored_answers,
    text_logprobs,
)
from tuna.inference.cost import Budget, Price, usage_cost, usage_of
from tuna.inference.served import ServedModel
from tuna.inference.server import TryAgain
from tuna.inference.store import Journal

pytestmark = pytest.mark.once  # computes nothing that kernels could round


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
    answer = from_choice(
        {
            "text": "\ud83d half a pair",
            "logprobs": {"tokens": ["\ud83d half", " a pair"], "token_logprobs": [-0.25, -0.5]},
        }
    )
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


@pytest.mark.parametrize(
    ("text", "thought", "answer"),
    [
        ("Maple.", None, "Maple."),
        ("<think>\nTwo leaves.\n</think>\n\nMaple.", "Two leaves.", "Maple."),
        ("Two leaves.\n</think>\nMaple.", "Two leaves.", "Maple."),  # the prompt opened it
        ("<think></think>Maple.", "", "Maple."),
        (" <thinking>a</thinking> b </think> Maple.", "a</thinking> b", "Maple."),
        ("[THINK]Two leaves.[/THINK]Maple.", "Two leaves.", "Maple."),
        ("<think>Two leaves, or", "Two leaves, or", ""),
        ("<think>Two leaves.</think>", "Two leaves.", ""),
        ("<THINK>\nTwo leaves.\n</Think >Maple.", "Two leaves.", "Maple."),
        ("<think>Two leaves.</think>Maple. <think>Or", "Two leaves.\nOr", "Maple."),
        ("Maple.\n<think>\nOr not?", "Or not?", "Maple."),
        ("<thought>Two leaves.</thought> Maple.", "Two leaves.", "Maple."),
        ("<reasoning>Two leaves, or", "Two leaves, or", ""),
        ("Maple <reasoning>is</reasoning> a tree.", None, "Maple <reasoning>is</reasoning> a tree."),
        ("<|START_THINKING|>a<|END_THINKING|><|START_RESPONSE|>Maple.<|END_RESPONSE|>", "a", "Maple."),
        ("<|begin_of_thought|>a<|end_of_thought|>\n<|begin_of_solution|>Maple.<|end_of_solution|>", "a", "Maple."),
        (
            "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>Maple.<|return|>",
            "<|message|>a<|end|><|start|>assistant",
            "Maple.",
        ),
        ("analysisTwo leaves.assistantfinalMaple.", "Two leaves.", "Maple."),
        ("<|channel|>analysis<|message|>Two", "<|message|>Two", ""),
        ("To open a thought, write <think> first.", None, "To open a thought, write <think> first."),
    ],
)
def test_thought_and_answer(text: str, thought: str | None, answer: str) -> None:
    assert split_thought(text) == (thought, answer)


def test_what_is_outside_keeps_what_stands_before_a_block() -> None:
    assert outside_thought("One <think>two</think> three") == "One  three"
    assert outside_thought("no marks") == "no marks" and outside_thought("<think>all</think>") == ""


def chat(*tokens: tuple[str, float | None]) -> dict[str, Any]:
    return {"content": [{"token": token, "logprob": value} for token, value in tokens]}


END = ("<|im_end|>", -0.5)
THOUGHT = ("A tree", -8.0), (" fits", -8.0), ("</think>", -4.0), ("\n\n", -2.0)


@pytest.mark.parametrize(
    ("given", "text", "kept"),
    [
        (chat(("The", -1.0), (" elm", -2.0)), "The elm", [-1.0, -2.0]),
        (chat((" The", -1.0), (" elm", -2.0), ("\n", -3.0), END), "The elm", [-1.0, -2.0, -3.0, -0.5]),
        (chat(("The", -1.0), ("elm", -2.0), ("", -0.25)), "The elm", [-1.0, -2.0, -0.25]),  # decoded one by one
        (chat(*THOUGHT, ("The", -1.0), (" elm", -2.0), END), "The elm", [-1.0, -2.0, -0.5]),
        (chat(*THOUGHT, ("elm", -1.0), ("\n</think>", -1.0), ("elm", -2.0), END), "elm", [-2.0, -0.5]),
        (chat(("The", -1.0), (" <", -2.0), ("br", -3.0), (">", -4.0)), "The <br>", [-1.0, -2.0, -3.0, -4.0]),
        # parts of a character: as U+FFFD, as OpenAI's completions write them
        (chat(*THOUGHT, ("\ufffd", -1.0), ("\ufffd", -2.0), ("lm", -3.0), END), "\u00c9lm", [-1.0, -2.0, -3.0, -0.5]),
        ({"tokens": ["bytes:\\xc3", "bytes:\\x89", "lm"], "token_logprobs": [-1.0] * 3}, "\u00c9lm", [-1.0] * 3),
    ],
)  # fmt: skip
def test_the_tokens_of_the_text(given: dict[str, Any], text: str, kept: list[float]) -> None:
    assert text_logprobs(given, text) == (kept, None)


def test_bytes_count_before_names() -> None:
    names = [("\\xc3", list(b"\xc3")), ("\\x89", list(b"\x89")), ("lm", None)]
    given = {"content": [{"token": name, "bytes": data, "logprob": -1.0} for name, data in names]}
    assert text_logprobs(given, "\u00c9lm") == ([-1.0] * 3, None)


@pytest.mark.parametrize(
    ("given", "text", "why"),
    [
        (chat(*THOUGHT, ("The", -1.0), (" oak", -2.0)), "The elm", NOT_THE_TEXTS),
        (chat(*THOUGHT[:3], (">The", -1.0), (" elm", -2.0)), "The elm", NOT_THE_TEXTS),  # a token of both
        (chat(("The", -1.0), (" elm", -2.0), (" grows", -3.0)), "The elm", NOT_THE_TEXTS),
        (chat(("The", -1.0)), "The elm", NOT_THE_TEXTS),
        ({"token_logprobs": [-1.0, -2.0]}, "The elm", NOT_THE_TEXTS),  # no tokens to compare
        ({"tokens": None, "token_logprobs": [None, None]}, "The elm", None),
        (chat(("The", -1.0), (" elm", -9999.0)), "The elm", NO_NUMBER),
        (chat(("The", -1.0), (" elm", float("-inf"))), "The elm", NO_NUMBER),
        (chat(("The", -1.0), (" elm", None)), "The elm", NO_NUMBER),
        (None, "The elm", None),
        (chat(*THOUGHT), "", None),
    ],
)
def test_none_and_why(given: Any, text: str, why: str | None) -> None:
    assert text_logprobs(given, text) == ([], why)


def test_a_floor_within_the_thought_does_not_count() -> None:
    assert text_logprobs(chat(("hm", -9999.0), ("elm", -1.0), END), "elm") == ([-1.0, -0.5], None)


NUMBERS = st.none() | st.booleans() | st.integers() | st.floats()
JSON = st.recursive(
    NUMBERS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
LOGPROBS = st.fixed_dictionaries(
    {"content": JSON | st.lists(st.fixed_dictionaries({"token": JSON, "logprob": NUMBERS}), max_size=3)}
)
PARTS = st.lists(st.fixed_dictionaries({"type": JSON, "text": JSON}) | JSON, max_size=3)
MESSAGES = JSON | st.fixed_dictionaries({"content": JSON | PARTS}, optional={"refusal": JSON, "reasoning": JSON})
CHOICES = st.lists(
    JSON
    | st.fixed_dictionaries({"message": MESSAGES}, optional={"finish_reason": JSON, "logprobs": JSON | LOGPROBS})
    | st.fixed_dictionaries({"text": JSON}, optional={"logprobs": JSON}),
    max_size=3,
)
USAGE = JSON | st.fixed_dictionaries({"prompt_tokens": NUMBERS, "completion_tokens": NUMBERS})
REPLIES = st.fixed_dictionaries({}, optional={"choices": JSON | CHOICES, "usage": USAGE, "model": JSON})
FEW = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FEW
@given(REPLIES)
def test_any_reply_is_answers_that_can_be_stored_or_asked_for_again(tmp_path: Path, body: dict[str, Any]) -> None:
    try:
        answers = ServedModel(model="m").read(body)
    except TryAgain:
        return
    (tmp_path / "a.jsonl").unlink(missing_ok=True)
    journal = Journal(tmp_path / "a.jsonl")
    journal.append({"key": "k", "choices": [a.to_dict() for a in answers], "usage": body.get("usage")})
    assert journal.read("k", stored_answers) == [answers]
    assert all(a.logprob is None or -math.inf < a.logprob < 1 for a in answers)
    journal.close()


@FEW
@given(USAGE)
def test_any_usage_costs_something_known_or_its_worst(usage: Any) -> None:
    cost, total = usage_cost(Price(2.0, 8.0), usage), usage_of({"usage": usage}, Price(2.0, 8.0))
    assert cost is None or 0 <= cost < math.inf
    assert total.cost is not None and 0 <= total.cost < math.inf and total.prompt_tokens >= 0


@FEW
@given(st.data())
def test_any_damage_to_a_store_is_told_or_leaves_whole_lines(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "a.jsonl"
    path.unlink(missing_ok=True)
    journal = Journal(path)
    budget = Budget(journal)
    for _ in range(3):
        budget.settle(budget.reserve(2.0), 0.5)
    journal.close()
    whole = path.read_bytes()
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(len(whole), start + 60)))
    path.write_bytes(whole[:start] + data.draw(st.binary(max_size=6)) + whole[end:])
    try:
        again = Budget(Journal(path))
    except RunError as fault:
        assert "a.jsonl:" in str(fault)
        return

    def entries(lines: bytes) -> set[str]:
        return {json.dumps({**json.loads(line), "crc": None}, sort_keys=True) for line in lines.split(b"\n")[:-1]}

    assert entries(path.read_bytes()) <= entries(whole) and 0 <= again.spent <= 6.0
