"""How a reward model reads question and answer: the chat template to its very last token."""

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from tests.models.conftest import write_tokenizer
from tuna.data.conversation import conversation
from tuna.data.lists import Answer
from tuna.data.record import Record
from tuna.data.tokenize import Encoder
from tuna.errors import ConfigError

# Like Qwen 3's: a finished turn is opened otherwise than one to be written, and something follows its end.
CHAT = (
    "{% for m in messages %}{% if m.role == 'user' %}w4 {{ m.content }} w5 {% else %}w6 w7 {{ m.content }} </s> w8"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}w6 {% endif %}"
)


@pytest.fixture
def tokenizer(tmp_path: Path) -> Any:
    write_tokenizer(tmp_path)
    found: Any = AutoTokenizer.from_pretrained(tmp_path)
    return found


def ids_of(tokenizer: Any, name: str, record: Record, answer: Answer) -> list[int]:
    template, ending = conversation(name, tokenizer)
    encoder = Encoder(tokenizer, ending=ending)
    return [*encoder.prompt(template(record)).tolist(), *encoder.response(answer).tolist()]


@pytest.mark.parametrize("name", ["auto", "chat"])
def test_the_ids_are_those_of_the_whole_conversation(tokenizer: Any, name: str) -> None:
    tokenizer.chat_template = CHAT
    messages = [{"role": "user", "content": "w10 w11\nw12"}, {"role": "assistant", "content": "w20 w21"}]
    wanted = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False)
    assert ids_of(tokenizer, name, Record("", "w10 w11", "w12"), Answer("w20 w21")) == wanted
    assert wanted[-2:] == [2, 8]


def test_an_answer_that_was_cut_has_no_ending(tokenizer: Any) -> None:
    tokenizer.chat_template = CHAT
    assert ids_of(tokenizer, "auto", Record("", "w10"), Answer("w20", complete=False))[-1] == 20


def test_elsewhere_the_end_of_sequence_token_follows(tokenizer: Any) -> None:
    assert ids_of(tokenizer, "none", Record("", "w10"), Answer("w20"))[-2:] == [20, 2]
    assert conversation("auto", tokenizer)[1] == (2,)
    tokenizer.chat_template = CHAT
    assert ids_of(tokenizer, "auto", Record("", "w10", template="none"), Answer("w20"))[:-3] == [10]
    with pytest.raises(ConfigError, match=r"datamodule\.template"):
        conversation("alpaka", tokenizer)


def test_a_template_that_closes_nothing_leaves_the_end_of_sequence_token(tokenizer: Any) -> None:
    tokenizer.chat_template = "{% for m in messages %}{% if not loop.first %} w9 {% endif %}{{ m.content }}{% endfor %}"
    assert conversation("chat", tokenizer)[1] == (2,)
