"""Templates word for word, and what shortening may touch."""

import pytest

from tests.data.make import tokenizer
from tuna.data.fields import FieldError
from tuna.data.record import Record
from tuna.data.templates import TextPrompt, alpaca, kept, none, parse_alpaca, size, template_named
from tuna.errors import ConfigError

WITH_INPUT = """Below is an instruction that describes a task, paired with an input that provides further context. \
Write a response that appropriately completes the request.

### Instruction:
Add.

### Input:
1 2

### Response:"""
WITHOUT_INPUT = """Below is an instruction that describes a task. \
Write a response that appropriately completes the request.

### Instruction:
Add.

### Response:"""
TURNS = (
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "One?"},
    {"role": "assistant", "content": "Uno."},
    {"role": "user", "content": "Two?"},
)


def test_alpaca_word_for_word() -> None:
    assert alpaca(Record("0", "Add.", "1 2")).text == WITH_INPUT
    assert alpaca(Record("0", "Add.")).text == WITHOUT_INPUT
    assert parse_alpaca(WITH_INPUT) == ("Add.", "1 2")
    assert parse_alpaca(WITHOUT_INPUT) == ("Add.", "")
    assert parse_alpaca("Add.") is None


@pytest.mark.parametrize("name", ["alpaca", "none"])
def test_a_conversation_needs_a_chat_template(name: str) -> None:
    with pytest.raises(FieldError, match=r"one user turn.*system, user, assistant, user.*has a chat template"):
        template_named(name, tokenizer())(Record("0", "Two?", messages=TURNS))


def test_none_keeps_a_finished_prompt_and_spares_its_end() -> None:
    short = kept(Record("0", WITH_INPUT), 5, finished=True)
    assert none(short).text == alpaca(Record("0", "Add.", "1")).text
    other = Record("0", "User: " + "x" * 1000 + "\nAssistant:")
    assert none(other) == TextPrompt(other.instruction)
    assert kept(other, 0, finished=True).instruction.endswith("\nAssistant:")
    assert len(kept(other, 0, finished=True).instruction) == 200
    assert none(Record("0", "Add.", "1 2")).text == "Add.\n1 2"


def test_names() -> None:
    plain, talking = tokenizer(), tokenizer(chat=True)
    record = Record("0", "Add.")
    assert template_named("auto", plain)(record).text == WITHOUT_INPUT
    assert template_named("auto", talking)(record).text.startswith("<s>[user] Add.")
    assert template_named("alpaca", talking)(record).text == WITHOUT_INPUT
    assert template_named("chat", talking)(Record("0", "Add.", template="none")).text == "Add."
    with pytest.raises(ConfigError, match="there is no chat template"):
        template_named("chat", plain)
    with pytest.raises(ConfigError, match="expected one of auto, chat, alpaca, none, got 'vicuna'"):
        template_named("alpaca", plain)(Record("0", "Add.", template="vicuna"))


def test_kept_takes_from_the_input_first() -> None:
    record = Record("0", "abc", "def")
    assert size(record) == 6
    assert [kept(record, n).user_turn for n in (6, 4, 3, 1, 0)] == ["abc\ndef", "abc\nd", "abc", "a", ""]


def test_kept_drops_the_oldest_exchange_first_and_never_the_system_prompt() -> None:
    record = Record("0", "Two?", messages=TURNS)
    assert size(record) == 12
    assert kept(record, 12) == record
    for characters, last in ((11, "Two?"), (4, "Two?"), (2, "Tw")):
        assert kept(record, characters).messages == (TURNS[0], {"role": "user", "content": last})
