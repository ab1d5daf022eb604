"""Conversations in the forms that people write them, brought into one."""

from typing import Any

import pytest

from tuna.data.fields import FieldError
from tuna.data.messages import asked, read_messages, transcript
from tuna.data.record import Record


def test_roles_and_contents_of_several_makers() -> None:
    given = [
        {"role": "developer", "content": "Be brief."},
        {"from": "human", "value": "Hi."},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}], "name": None},
        {"role": "function", "content": "42"},
        {"role": "user", "content": [{"type": "text", "text": "And "}, {"type": "text", "text": "now?"}]},
    ]
    assert read_messages(given, "messages") == (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi."},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]},
        {"role": "tool", "content": "42"},
        {"role": "user", "content": "And now?"},
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], r"m: expected one chat message or more, got a list of 0"),
        ("Hi.", r"m: expected one chat message or more, got 'Hi.'"),
        (["Hi."], r"m\[0\]: expected a chat message with role and content, got 'Hi.'"),
        ([{"role": "narrator", "content": "x"}], r"m\[0\].role: expected one of system, user, assistant, tool"),
        ([{"role": "user", "content": None}], r"m\[0\].content: expected a string, got nothing"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], r"m\[0\].content\[0\]: expected a part with text"),
        ([{"role": "user", "content": [{"text": "\ud800"}]}], r"m\[0\].content: expected valid Unicode text"),
        (
            [{"role": "assistant", "content": "x", "reasoning_content": "\ud800"}],
            r"m\[0\].reasoning_content: expected valid Unicode text, got '\\ud800'",
        ),
        (
            [{"role": "assistant", "tool_calls": [{"function": {"arguments": {"\udfff": 1}}}]}],
            r"m\[0\].tool_calls: expected valid Unicode text, got '\\udfff'",
        ),
    ],
)
def test_what_is_no_conversation_is_named(value: Any, message: str) -> None:
    with pytest.raises(FieldError, match=message):
        read_messages(value, "m")


def test_one_plain_user_turn_is_the_short_form() -> None:
    hi = {"role": "user", "content": "Hi."}
    assert asked([hi]) == {"instruction": "Hi."}
    assert asked([hi], [{"name": "look"}])["messages"] == (hi,)
    assert asked([{"role": "system", "content": "s"}, hi])["instruction"] == "Hi."
    long = Record("0", **asked([{"role": "system", "content": "s"}, hi]))
    short = Record("0", "Hi.")
    assert short.conversation == [hi] and short.question == ["Hi.", ""]
    assert long.question != short.question and long.question == Record("1", "x", messages=long.messages).question
    assert transcript(long.messages) == "System: s\n\nUser: Hi."
