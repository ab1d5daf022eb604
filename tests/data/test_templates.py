"""Templates word for word, and the parts that shortening may touch."""

import pytest

from tests.data.make import tokenizer
from tuna.data.record import Record
from tuna.data.templates import PromptParts, alpaca, chat, none, parse_alpaca, template_named
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


def test_alpaca_word_for_word() -> None:
    assert alpaca(Record("0", "Add.", "1 2")).text == WITH_INPUT
    assert alpaca(Record("0", "Add.")).text == WITHOUT_INPUT
    assert parse_alpaca(WITH_INPUT) == ("Add.", "1 2")
    assert parse_alpaca(WITHOUT_INPUT) == ("Add.", "")
    assert parse_alpaca("Add.") is None


def test_kept_takes_from_the_input_first() -> None:
    parts = PromptParts("<", "abc", "|", "def", ">")
    assert [parts.kept(n).text for n in (6, 4, 3, 1, 0)] == ["<abc|def>", "<abc|d>", "<abc|>", "<a|>", "<|>"]


def test_chat_equals_the_tokenizers_own_rendering() -> None:
    tok = tokenizer(chat=True)
    render = chat(tok)
    for instruction, given in (("Add.", ""), ("Add.", "1 2"), ("  Add.\n", ""), (" Add.", "1 2 \n")):
        turn = instruction + ("\n" + given if given else "")
        messages = [{"role": "user", "content": turn}]
        own = tok.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        parts = render(Record("0", instruction, given))
        assert parts.text == own
        assert not parts.bos


def test_none_keeps_a_finished_prompt_and_spares_its_end() -> None:
    assert none(Record("0", WITH_INPUT)) == alpaca(Record("0", "Add.", "1 2"))
    other = "User: " + "x" * 1000 + "\nAssistant:"
    parts = none(Record("0", other))
    assert parts.text == other
    assert parts.kept(0).text.endswith("\nAssistant:")
    assert none(Record("0", "Add.", "1 2")).text == "Add.\n1 2"


def test_names() -> None:
    plain, talking = tokenizer(), tokenizer(chat=True)
    record = Record("0", "Add.")
    assert template_named("auto", plain)(record).text == WITHOUT_INPUT
    assert template_named("auto", talking)(record).text.startswith("<s>[user] Add.")
    assert template_named("alpaca", talking)(record).text == WITHOUT_INPUT
    assert template_named("chat", talking)(Record("0", "Add.", template="none")).text == "Add."
    with pytest.raises(ConfigError, match="no chat template"):
        template_named("chat", plain)
    with pytest.raises(ConfigError, match="expected one of auto, alpaca, chat, none, got 'vicuna'"):
        template_named("alpaca", plain)(Record("0", "Add.", template="vicuna"))
