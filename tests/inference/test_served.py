"""What a served model is sent and what its replies say."""

from typing import Any

import pytest

from tuna.data.record import Record
from tuna.errors import ConfigError, DataError
from tuna.inference.cost import Price, Prices
from tuna.inference.served import ServedModel
from tuna.inference.server import TryAgain

pytestmark = pytest.mark.once


def test_prompts() -> None:
    record = Record("1", "Add.", "1 2")
    assert ServedModel(model="m").prompt(record) == "Add.\n1 2"
    assert ServedModel(model="m", endpoint="completions").prompt(record).endswith("### Input:\n1 2\n\n### Response:")
    finished = Record("1", "A finished prompt:", template="none")
    assert ServedModel(model="m", endpoint="completions").prompt(finished) == "A finished prompt:"
    assert ServedModel(model="m", endpoint="completions", template="none").prompt(record).startswith("Add.")


TURNS = (
    {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi."},
    {"role": "assistant", "content": "Hello."}, {"role": "user", "content": "Again?"},
)  # fmt: skip


def test_a_chat_gets_the_conversation_and_its_tools() -> None:
    tool = {"type": "function", "function": {"name": "look"}}
    asked = ServedModel(model="m").payload(Record("0", "Again?", messages=TURNS, tools=(tool,)), 9, 1.0)
    assert asked["messages"] == list(TURNS) and asked["tools"] == [tool]
    short = ServedModel(model="m").payload(Record("0", "Add.", "1 2"), 9, None)
    assert short == {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Add.\n1 2"}]}


def test_conversations_with_the_same_last_turn_are_told_apart_and_priced_whole() -> None:
    model = ServedModel(model="m")
    prompts = [model.prompt(Record("0", "Again?", messages=turns)) for turns in ((), TURNS[1:], TURNS)]
    assert len(set(prompts)) == 3 and prompts[0] == "Again?"
    assert all(turn["content"] in prompts[2] for turn in TURNS)
    assert model.prompt(Record("1", "Other words", messages=TURNS)) == prompts[2]


@pytest.mark.parametrize("template", ["alpaca", "none"])
def test_completions_refuse_a_conversation_by_its_row(template: Any) -> None:
    model = ServedModel(model="m", endpoint="completions", template=template)
    with pytest.raises(DataError, match=r"^in\.jsonl:3: messages: expected .*endpoint=chat$"):
        model.prompt(Record("0", "Q", messages=TURNS, where="in.jsonl:3"))


def test_payloads() -> None:
    chat = ServedModel(model="m", token_limit="max_completion_tokens", extra_body={"top_k": 0})
    assert chat.payload(Record("0", "Hi"), 7, 1.1) == {
        "model": "m", "temperature": 1.1, "max_completion_tokens": 7, "extra_body": {"top_k": 0},
        "messages": [{"role": "user", "content": "Hi"}],
    }  # fmt: skip
    plain = ServedModel(model="m", endpoint="completions", template="none").payload(Record("0", "Hi"), 512, 1.0, 3)
    assert plain == {"model": "m", "temperature": 1.0, "max_tokens": 512, "prompt": "Hi", "n": 3}


@pytest.mark.parametrize("body", [{}, {"choices": []}, {"choices": "x"}, {"choices": [{}]}, {"choices": [None]}])
def test_replies_without_answers_are_asked_again(body: dict[str, Any]) -> None:
    with pytest.raises(TryAgain) as fault:
        ServedModel(model="m").read(body)
    assert fault.value.billed


def test_prices_and_faults() -> None:
    prices = Prices({"m": [2.0, 8.0]})
    assert ServedModel(model="m").price_in(prices) == Price(2, 8)
    assert ServedModel(model="m", batch=True).price_in(prices) == Price(1, 4)
    assert ServedModel(model="own", price=[0, 0]).price_in(prices) == Price(0, 0)
    assert ServedModel(model="own").price_in(prices) is None
    for wrong in ({"temperature": -1, "concurrency": 0}, {"base_url": "host", "api_key_env": "a b", "model": ""}):
        with pytest.raises(ConfigError) as fault:
            ServedModel(**{"model": "m", **wrong})  # type: ignore[arg-type]
        assert sorted(line.partition(":")[0] for line in str(fault.value).splitlines()) == sorted(wrong)
